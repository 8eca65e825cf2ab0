//! The states of a machine and the ways between them.

/// Where a machine is in its life; the words are Firecracker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is being configured.
    NotStarted,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs and devices stand still.
    Paused,
    /// It has ended; the process follows.
    Ended,
}

impl State {
    /// Each with a word for it.
    pub const WORDS: [(&str, Self); 4] = [
        ("not_started", Self::NotStarted),
        ("running", Self::Running),
        ("paused", Self::Paused),
        ("ended", Self::Ended),
    ];
}

/// What may happen to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Take a part of the configuration.
    Configure,
    /// Start the vCPUs.
    Start,
    /// Let vCPUs and devices stand still.
    Pause,
    /// Let them go on.
    Resume,
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
#[derive(Debug, Clone, Copy)]
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
            // To ask for what is so already is no error, as with Firecracker.
            (State::Running | State::Paused, Step::Pause) => State::Paused,
            (State::Running | State::Paused, Step::Resume) => State::Running,
            (_, Step::End) => State::Ended,
            (State::Running | State::Paused | State::Ended, Step::Configure | Step::Start) => {
                return Err(Refused::AfterStart);
            }
            (State::NotStarted | State::Ended, Step::Pause | Step::Resume) => {
                return Err(Refused::BeforeStart);
            }
        };
        Ok(())
    }

    /// Whether the guest has been started and has not ended, for what makes sense only then. A guest that is
    /// paused counts.
    pub fn running(&self) -> Result<(), Refused> {
        match self.state {
            State::Running | State::Paused => Ok(()),
            State::NotStarted | State::Ended => Err(Refused::BeforeStart),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        use Refused::{AfterStart, BeforeStart};
        use State::{Ended, NotStarted, Paused, Running};
        let steps = [Step::Configure, Step::Start, Step::Pause, Step::Resume, Step::End];
        let table = [
            (NotStarted, [Ok(NotStarted), Ok(Running), Err(BeforeStart), Err(BeforeStart), Ok(Ended)]),
            (Running, [Err(AfterStart), Err(AfterStart), Ok(Paused), Ok(Running), Ok(Ended)]),
            (Paused, [Err(AfterStart), Err(AfterStart), Ok(Paused), Ok(Running), Ok(Ended)]),
            (Ended, [Err(AfterStart), Err(AfterStart), Err(BeforeStart), Err(BeforeStart), Ok(Ended)]),
        ];
        for (state, row) in table {
            for (step, expected) in steps.into_iter().zip(row) {
                let mut life = Lifecycle { state };
                let taken = life.take(step).map(|()| life.state());
                assert_eq!(taken, expected, "{state:?} {step:?}");
                // A step that is refused changes nothing.
                assert_eq!(life.state(), expected.unwrap_or(state));
            }
            let life = Lifecycle { state };
            assert_eq!(life.running().is_ok(), matches!(state, Running | Paused), "{state:?}");
        }
        assert_eq!(Lifecycle::default().state(), NotStarted);
    }
}
