//! The states of a machine and the ways between them.

/// Where a machine is in its life; the words are Firecracker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is being configured.
    NotStarted,
    /// Its vCPUs run.
    Running,
    /// It has ended; the process follows.
    Ended,
}

/// What may happen to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Take a part of the configuration.
    Configure,
    /// Start the vCPUs.
    Start,
    /// End, for whatever reason.
    End,
}

/// A step that the machine's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The guest runs already.
    #[error("The requested operation is not supported after starting the microVM.")]
    AfterStart,
    /// The guest does not run yet.
    #[error("The requested operation is not supported before starting the microVM.")]
    BeforeStart,
}

/// A machine's state; changes only as the table says.
#[derive(Debug)]
pub struct Lifecycle {
    state: State,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self { state: State::NotStarted }
    }
}

impl Lifecycle {
    /// Where the machine is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes a step, or tells why not.
    pub fn take(&mut self, step: Step) -> Result<(), Refused> {
        self.state = match (self.state, step) {
            (State::NotStarted, Step::Configure) => State::NotStarted,
            (State::NotStarted, Step::Start) => State::Running,
            (_, Step::End) => State::Ended,
            (State::Running | State::Ended, Step::Configure | Step::Start) => {
                return Err(Refused::AfterStart);
            }
        };
        Ok(())
    }

    /// Whether the guest runs, for what makes sense only then.
    pub fn running(&self) -> Result<(), Refused> {
        match self.state {
            State::Running => Ok(()),
            State::NotStarted | State::Ended => Err(Refused::BeforeStart),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_configured_started_once_and_ended() {
        let mut life = Lifecycle::default();
        life.take(Step::Configure).unwrap();
        assert_eq!(life.running(), Err(Refused::BeforeStart));
        life.take(Step::Start).unwrap();
        life.running().unwrap();
        assert_eq!(life.take(Step::Start), Err(Refused::AfterStart));
        assert_eq!(life.take(Step::Configure), Err(Refused::AfterStart));
        life.take(Step::End).unwrap();
        assert_eq!(life.state(), State::Ended);
        assert_eq!(life.take(Step::Start), Err(Refused::AfterStart));
    }
}
