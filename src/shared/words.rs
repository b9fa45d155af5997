//! What the master and its children tell each other over their channels, beside signals.

/// A message. Each is a word, and with some of them comes more: see there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// To the master: the process serves.
    Ready,
    /// To the master, from the control process: the service is to be reloaded.
    Reload,
    /// To the master, from a control process that is replaced: nothing is changed there any more.
    Closed,
    /// To a worker, with a descriptor: the access log, opened anew. A USR1 follows.
    Log,
    /// To the control process that wanted a reload: it is done.
    Reloaded,
    /// To the same: it is not. The rest of the text says why.
    Refused,
}

impl Word {
    const ALL: [(Word, &str); 6] = [
        (Word::Ready, "ready"),
        (Word::Reload, "reload"),
        (Word::Closed, "closed"),
        (Word::Log, "log"),
        (Word::Reloaded, "reloaded"),
        (Word::Refused, "refused"),
    ];

    /// As it is sent.
    pub fn text(self) -> &'static str {
        Word::ALL.iter().find(|(word, _)| *word == self).map_or("", |(_, text)| text)
    }

    /// The word of a message, and the rest of its text. None if it is of another version.
    pub fn of(text: &str) -> Option<(Word, &str)> {
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (word, _) = Word::ALL.iter().find(|(_, text)| *text == first)?;
        Some((*word, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::Word;

    #[test]
    fn every_word_is_read_as_it_was_sent() {
        for (word, _) in Word::ALL {
            assert_eq!(Word::of(word.text()), Some((word, "")));
        }
    }

    #[test]
    fn what_comes_with_a_word_is_told_and_what_is_unknown_is_none() {
        assert_eq!(Word::of("refused no such file"), Some((Word::Refused, "no such file")));
        assert_eq!(Word::of("other"), None);
        assert_eq!(Word::of(""), None);
    }
}
