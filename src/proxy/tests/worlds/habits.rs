//! What servers of a random world do with requests and their identifiers.

use super::plan::Book;

/// What a server does with the request identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    Silent,
    Echoes,
    /// Takes out what it does not like.
    Cleans,
    /// Echoes for some requests.
    Sometimes,
    /// For some it returns what it returned last, as a cache before it would.
    Stores,
    /// Echoes, and sends some responses once more.
    Repeats,
}

impl Habit {
    pub fn roll(book: &mut Book) -> Habit {
        if book.weather.shuts_doors && book.dice.one_in(2) {
            return Habit::Sometimes; // So that a doubt meets the shut door.
        }
        let is_known_to_echo = book.weather.multiplexes && book.dice.below(6) > 0;
        match (book.weather.mix_ups || is_known_to_echo, book.weather.surplus) {
            (_, true) if !book.weather.mix_ups && book.dice.one_in(2) => Habit::Repeats,
            (true, _) => Habit::Echoes,
            (false, _) => *book.dice.choose(&[
                Habit::Silent,
                Habit::Echoes,
                Habit::Cleans,
                Habit::Sometimes,
                Habit::Stores,
            ]),
        }
    }

    /// What is returned to request `number`, which was sent with `id`.
    pub fn returns(self, number: usize, id: &str, last: &str, book: &Book) -> Option<String> {
        match self {
            Habit::Silent => None,
            Habit::Sometimes if number % 3 == 0 => None,
            // No cache answers what is not safe.
            Habit::Stores if number % 3 == 0 && book.plans[number].is_pipelinable() => {
                Some(last.to_owned())
            }
            Habit::Cleans if book.plans[number].id.is_some() => Some(id.replace('-', "")),
            Habit::Echoes | Habit::Cleans | Habit::Sometimes | Habit::Stores | Habit::Repeats => {
                Some(id.to_owned())
            }
        }
    }
}

/// What it does with each request.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub habit: Habit,
    /// It forgets a request that stands behind another.
    pub forgets: bool,
    /// It closes after each response, and does not say so.
    pub closes_unsaid: bool,
    /// It sends a body with the response to HEAD.
    pub adds_bodies: bool,
}

impl Manners {
    pub fn roll(book: &mut Book) -> Manners {
        let habit = Habit::roll(book);
        let mut has = |wanted: bool| wanted && habit != Habit::Repeats && book.dice.one_in(2);
        Manners {
            habit,
            forgets: has(book.weather.forgets),
            closes_unsaid: has(book.weather.closes_unsaid),
            adds_bodies: has(book.weather.adds_bodies),
        }
    }
}
