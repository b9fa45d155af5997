//! The times that the page has numbers of.

use crate::shared::history::Window;

/// What the numbers of a page are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageWindow {
    /// A time until now.
    Lately(Window),
    /// All since the service started.
    All,
}

impl PageWindow {
    /// All there are, in the order of their length.
    pub const ALL: [PageWindow; 4] = [
        PageWindow::Lately(Window::TenSeconds),
        PageWindow::Lately(Window::Minute),
        PageWindow::Lately(Window::FiveMinutes),
        PageWindow::All,
    ];

    /// As the address of a page has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            PageWindow::Lately(window) => window.as_str(),
            PageWindow::All => "all",
        }
    }

    /// As people read it.
    pub const fn in_words(self) -> &'static str {
        match self {
            PageWindow::Lately(Window::TenSeconds) => "10 s",
            PageWindow::Lately(Window::Minute) => "1 min",
            PageWindow::Lately(Window::FiveMinutes) => "5 min",
            PageWindow::All => "since the start",
        }
    }
}
