//! Large listings that were made just now, to be given again.
//!
//! To make the page, the metrics or the pools of a thousand backends takes longer than all else that this
//! process does. Who asks for one again and again, over many connections, gets the same text: so the
//! time that goes into them is bounded, however many ask.

use crate::mem::time::Micros;
use crate::shared::PoolId;

use super::page_window::PageWindow;

/// A text that is shorter is made anew each time: whoever compares two of them sees every change.
const LARGE: usize = 64 << 10;
/// Unless it takes so long.
const SLOW: Micros = Micros(10_000);
/// A text is given again for so long,
const KEPT: Micros = Micros(100_000);
/// or for so many times what it took to make.
const TIMES: u64 = 4;

/// What may be large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// The page for people, with numbers of this time.
    Page(PageWindow),
    /// The metrics.
    Metrics,
    /// All pools as JSON.
    Pools,
    /// The service with what is wrong with them.
    Status,
    /// One of them.
    Pool(PoolId),
}

/// A text, and until when it is given again.
struct Made {
    listing: Listing,
    text: String,
    until: Micros,
}

/// The newest text of each listing, as long as it may be given again.
#[derive(Default)]
pub struct Recent {
    made: Vec<Made>,
}

impl Recent {
    /// The text of a listing, if it was made just now.
    pub fn text(&self, listing: Listing, now: Micros) -> Option<String> {
        let made = self.made.iter().find(|made| made.listing == listing && made.until > now)?;
        Some(made.text.clone())
    }

    /// Keeps a text that was made from `now` on, which took so long, if it is large or took long.
    pub fn keep(&mut self, listing: Listing, text: &str, now: Micros, took: Micros) {
        if text.len() < LARGE && took < SLOW {
            return;
        }
        self.made.retain(|made| made.listing != listing);
        let until = now + took + KEPT.max(Micros(took.0 * TIMES));
        self.made.push(Made { listing, text: text.to_owned(), until });
    }

    /// Gives back the memory of what is not given again.
    pub fn forget_old(&mut self, now: Micros) {
        self.made.retain(|made| made.until > now);
    }

    /// What the texts show has been changed by whoever may look at them next.
    pub fn forget_all(&mut self) {
        self.made.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_text_is_given_again_for_a_while_that_is_longer_if_it_took_long() {
        let text = |len: usize| -> String { "x".repeat(len) };
        let at = |millis: u64| Micros(millis * 1000);
        let mut recent = Recent::default();
        recent.keep(Listing::Page(PageWindow::All), &text(LARGE - 1), at(10), at(1));
        assert_eq!(recent.text(Listing::Page(PageWindow::All), at(11)), None, "it is small");
        recent.keep(Listing::Page(PageWindow::All), &text(LARGE), at(10), at(1));
        recent.keep(Listing::Metrics, &text(LARGE + 1), at(10), at(50));
        assert_eq!(recent.text(Listing::Page(PageWindow::All), at(110)), Some(text(LARGE)));
        assert_eq!(recent.text(Listing::Page(PageWindow::All), at(111)), None);
        assert_eq!(recent.text(Listing::Metrics, at(259)), Some(text(LARGE + 1)));
        recent.forget_old(at(200));
        assert_eq!(recent.made.len(), 1);
        recent.keep(Listing::Metrics, &text(LARGE), at(200), at(1));
        assert_eq!((recent.made.len(), recent.text(Listing::Pools, at(201))), (1, None));
        recent.forget_all();
        assert_eq!(recent.text(Listing::Metrics, at(201)), None);
    }
}
