//! What every endpoint's file is made of.

use serde::de::DeserializeOwned;

use super::answer::Answer;
use crate::machine::Controller;

/// What an endpoint gets.
pub struct Call<'a> {
    /// The machine.
    pub controller: &'a Controller,
    /// The path's last component, where the endpoint has one.
    pub id: &'a str,
    /// The body, within the limit.
    pub body: &'a [u8],
}

/// An endpoint: a call in, an answer out.
pub type Endpoint = fn(&Call<'_>) -> Answer;

impl Call<'_> {
    /// The body as a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        if self.body.is_empty() {
            return Err(Answer::refused("The request has no body."));
        }
        serde_json::from_slice(self.body).map_err(|error| {
            let text = format!("An error occurred when deserializing the json body of a request: {error}.");
            Answer::refused(text)
        })
    }

    /// Checks that the path and the body name the same thing.
    pub fn same_id(&self, id: &str) -> Result<(), Answer> {
        if self.id == id {
            return Ok(());
        }
        let text = format!("The id from the path [{}] does not match the id from the body [{id}]!", self.id);
        Err(Answer::refused(text))
    }
}

/// Unwraps a result whose error is an answer already.
pub fn answer(result: Result<Answer, Answer>) -> Answer {
    result.unwrap_or_else(|answer| answer)
}
