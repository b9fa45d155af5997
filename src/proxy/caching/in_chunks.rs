//! What another request fetches, of unknown length, goes in chunks to a client that follows it.
//!
//! A chunk has what is there when its line is written. Its data goes from the file to the socket, past the
//! ring, once the line has gone; so it may be under way for some time, and where the client stands in it is
//! kept with the answer. The last chunk is written when all has come, and never where it has broken off.

use crate::http::chunked::Chunks;

use super::Caching;
use super::context::CacheContext;
use super::follow::NextBytes;
use super::hit::{HitSent, went};
use super::state::{Delivery, StoredAnswer};
use crate::proxy::exchange::{Exchange, Response};
use crate::proxy::step::ChunkPlace;

/// A line end, and the line of a chunk: more than this is never written at once.
const LINES_MAX: usize = 24;

impl Caching {
    /// Sends what the client takes of a followed body; it stands at `place` in its chunks.
    pub(super) fn send_in_chunks(
        &mut self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        (stored, place): (StoredAnswer, ChunkPlace),
        next: NextBytes,
    ) -> HitSent {
        let has_room = context.client.room(context.ring_size) >= LINES_MAX;
        match (place, next) {
            (_, NextBytes::Broken) => HitSent::Cut,
            (ChunkPlace::Within(0), _) if has_room => {
                self.write_line(context, b"\r\n");
                let between = ChunkPlace::Between;
                let stored = stand(exchange, stored, between);
                // What comes behind it goes along, if there is anything.
                match self.send_in_chunks(exchange, context, (stored, between), next) {
                    HitSent::Nothing => HitSent::Some,
                    other => other,
                }
            }
            (ChunkPlace::Between, NextBytes::Bytes(_, count)) if has_room => {
                self.write_line(context, Chunks::size_line(count, &mut [0; 20]));
                stand(exchange, stored, ChunkPlace::Within(count));
                HitSent::Some
            }
            (ChunkPlace::Between, NextBytes::End) if has_room => {
                self.write_line(context, b"0\r\n\r\n");
                HitSent::All
            }
            (ChunkPlace::Behind, NextBytes::End) if has_room => {
                self.write_line(context, b"\r\n");
                HitSent::All
            }
            (ChunkPlace::Within(open), NextBytes::Bytes(first, count)) if open > 0 => {
                self.send_data(exchange, context, (stored, open), (first, count.min(open)))
            }
            // More is there than was said.
            (ChunkPlace::Within(1..), NextBytes::End)
            | (ChunkPlace::Behind, NextBytes::Bytes(..)) => HitSent::Cut,
            (ChunkPlace::Between | ChunkPlace::Within(_) | ChunkPlace::Behind, _) => {
                HitSent::Nothing
            }
        }
    }

    /// Sends what the client takes of the data of a chunk, of which so much is `open`.
    fn send_data(
        &self,
        exchange: &mut Exchange,
        context: &mut CacheContext,
        (stored, open): (StoredAnswer, u64),
        bytes: (u64, u64),
    ) -> HitSent {
        let sent = match self.send_bytes(context, stored.entry, bytes) {
            Ok(sent) => sent,
            Err(other) => return other,
        };
        let delivery = Delivery::InChunks(ChunkPlace::Within(open - sent));
        match went(exchange, StoredAnswer { delivery, ..stored }, sent) {
            // The line end and the last chunk are still to be written.
            HitSent::All => HitSent::Some,
            other => other,
        }
    }

    fn write_line(&self, context: &mut CacheContext, line: &[u8]) {
        context.client.write_part(line, context.ring_size, context.rings);
    }
}

/// The client stands there from here on.
fn stand(exchange: &mut Exchange, stored: StoredAnswer, place: ChunkPlace) -> StoredAnswer {
    let stored = StoredAnswer { delivery: Delivery::InChunks(place), ..stored };
    exchange.answer = Response::Stored(stored);
    stored
}
