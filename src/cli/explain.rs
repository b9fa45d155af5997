//! `--explain` and `-H`: how one request would be handled.

use crate::config::Config;
use crate::config::text::quote;
use crate::mem::buffer::Buffer;
use crate::policy::explain::{self, PoolNow, Question, SOMEBODY};
use crate::worker::sticky_key;

/// Bytes that a head may grow by on its way, far more than it does.
const GROWTH: usize = 64 * 1024;

/// The options, as far as they were read.
#[derive(Default)]
pub struct Asked {
    request: Option<String>,
    fields: Vec<String>,
}

impl Asked {
    /// Takes in the value of `--explain`.
    pub fn set_request(&mut self, text: String) -> Result<(), String> {
        match self.request.replace(text) {
            None => Ok(()),
            Some(_) => Err(String::from("more than one --explain (ask for one request at a time)")),
        }
    }

    /// Takes in the value of `-H`.
    pub fn add_field(&mut self, text: String) -> Result<(), String> {
        if !text.contains(':') {
            let remedy = "write \"Name: value\"";
            return Err(format!("-H: {} is not a header line ({remedy})", quote(&text)));
        }
        self.fields.push(text);
        Ok(())
    }

    /// What is asked, if anything is.
    pub fn question(self) -> Result<Option<Question>, String> {
        let Some(request) = self.request else {
            return match self.fields.is_empty() {
                true => Ok(None),
                false => Err(String::from("-H: there is no --explain (add it)")),
            };
        };
        let request = request.trim();
        let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
        if url.is_empty() {
            let remedy = "write \"GET http://host/path\"";
            return Err(format!("--explain: {} names no URL ({remedy})", quote(request)));
        }
        let (method, url) = (method.to_owned(), url.to_owned());
        Ok(Some(Question { method, url, fields: self.fields, client: SOMEBODY }))
    }
}

/// The answer, as text. Of the backends only their addresses are known, not their states.
pub fn answer(question: &Question, config: &Config) -> String {
    let pools = PoolNow::at_rest(config);
    let key = sticky_key::look(config);
    let mut scratch = Buffer::new(vec![0; config.head_limit() + GROWTH].leak());
    explain::explain(question, config, &pools, key.as_ref(), &mut scratch).to_string()
}
