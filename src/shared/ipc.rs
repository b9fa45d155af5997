//! What the master and its children tell each other over their channels, beside signals.

/// A message. Each is a word, and with some of them comes more: see there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMessage {
    /// To the master: the process serves.
    Ready,
    /// To the master, from the control process: the service is to be reloaded.
    Reload,
    /// To the master, from the control process: one of its helpers is silent. The rest of the text says
    /// which.
    Hung,
    /// To the master, from a control process that is replaced: nothing is changed there any more.
    Closed,
    /// To a worker, with a descriptor: the access log, opened anew. A USR1 follows.
    Log,
    /// To the control process that wanted a reload: it is done.
    Reloaded,
    /// To the same: it is not. The rest of the text says why.
    Refused,
}

impl ControlMessage {
    const ALL: [(ControlMessage, &str); 7] = [
        (ControlMessage::Ready, "ready"),
        (ControlMessage::Reload, "reload"),
        (ControlMessage::Closed, "closed"),
        (ControlMessage::Hung, "hung"),
        (ControlMessage::Log, "log"),
        (ControlMessage::Reloaded, "reloaded"),
        (ControlMessage::Refused, "refused"),
    ];

    /// As it is sent.
    pub fn text(self) -> &'static str {
        ControlMessage::ALL.iter().find(|(word, _)| *word == self).map_or("", |(_, text)| text)
    }

    /// The word of a message, and the rest of its text. None if it is of another version.
    pub fn parse(text: &str) -> Option<(ControlMessage, &str)> {
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (word, _) = ControlMessage::ALL.iter().find(|(_, text)| *text == first)?;
        Some((*word, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::ControlMessage;

    #[test]
    fn every_word_is_read_as_it_was_sent() {
        for (word, _) in ControlMessage::ALL {
            assert_eq!(ControlMessage::parse(word.text()), Some((word, "")));
        }
    }

    #[test]
    fn what_comes_with_a_word_is_told_and_what_is_unknown_is_none() {
        assert_eq!(
            ControlMessage::parse("refused no such file"),
            Some((ControlMessage::Refused, "no such file"))
        );
        assert_eq!(ControlMessage::parse("other"), None);
        assert_eq!(ControlMessage::parse(""), None);
    }
}
