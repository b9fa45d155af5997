//! What a step of an exchange comes to.

/// Whether a step came any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The step came further: another look is worth while.
    Made,
    /// Nothing can be done until an event.
    None,
}

impl Progress {
    /// The progress of two steps: whether either came any further.
    pub fn or(self, other: Progress) -> Progress {
        match (self, other) {
            (Progress::None, Progress::None) => Progress::None,
            (Progress::Made, _) | (_, Progress::Made) => Progress::Made,
        }
    }
}

/// Why a body does not arrive whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayError {
    /// The source ended or broke before the body did.
    Ended,
    /// Chunk framing that is not to be trusted.
    Malformed,
    /// The sink does not take it any more.
    SinkBroken,
}

/// Where a sink stands in the chunks that it is given.
///
/// ```text
/// Between -> Within, or the last chunk
/// Within  -> Within Between
/// Behind  -> the empty line
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkPlace {
    /// A chunk's line, or the last one's, comes next.
    Between,
    /// So many bytes of a chunk's data are still to be written, and then its line end.
    Within(u64),
    /// The line of the last chunk was written: the empty line comes next.
    Behind,
}

/// How the sink is told where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// By its length, or by the end of the connection.
    Raw,
    /// By chunks.
    Chunked,
}
