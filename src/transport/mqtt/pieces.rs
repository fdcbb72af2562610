//! An answer on its way from its jobs: whole at the end, and piece by piece where that was asked for.
//!
//! A piece is worth something only while it is new. So few of them wait at once; for a link that is slower than the model what
//! follows is joined to the next one, and whatever is lost stands in the last message, which is kept and sent again as every answer.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use linnet_proto::generate::Delta;
use linnet_proto::openai::Head;
use linnet_proto::{WireError, error};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::answer::Body;
use super::bounds::PIECES_PER_JOB;
use super::desk::Note;
use super::fingerprint::Fingerprint;
use super::request::Form;
use crate::job::Part;
use crate::transport::ask::{Step, Turns, Writer};

/// Waits for all of an answer.
pub(super) async fn collect(mut turns: Turns, form: &Form, head: &Head, mut pieces: Option<Pieces>) -> Body {
    let mut answers = Vec::new();
    loop {
        match turns.next().await {
            Ok(Step::Part(part)) => {
                if let Some(pieces) = &mut pieces
                    && let Err(error) = pieces.take(part, turns.model())
                {
                    return Body::of_error(error);
                }
            }
            Ok(Step::Answer(answer)) => {
                answers.push(answer);
                if let Some(pieces) = &mut pieces {
                    pieces.next_prompt();
                }
            }
            Ok(Step::End) => break,
            Err(error) => return Body::of_error(error),
        }
    }
    match form.whole(head, answers) {
        Ok((text, content_type)) => {
            let text = pieces.map_or(text.clone(), |pieces| numbered(pieces.number, true, &text));
            Body { payload: Bytes::from(text), content_type: content_type.to_owned(), error: None }
        }
        Err(error) => Body::of_error(error),
    }
}

/// Puts `seq` and `final` in front of the members of an object; what is no object stays as it is.
fn numbered(number: u64, last: bool, json: &str) -> String {
    match json.strip_prefix('{') {
        Some("}") => format!("{{\"seq\":{number},\"final\":{last}}}"),
        Some(members) => format!("{{\"seq\":{number},\"final\":{last},{members}"),
        None => json.to_owned(),
    }
}

/// The pieces of one answer.
pub(super) struct Pieces {
    notes: mpsc::Sender<Note>,
    request: Fingerprint,
    writer: Option<Writer>,
    begun: bool,
    /// Places of pieces that are not published yet.
    places: Arc<Semaphore>,
    /// Of the next message, from 0.
    number: u64,
    /// Text that no piece holds yet; at most one entry for each answer.
    written: Vec<Delta>,
    /// Pieces that wait for a place: segments and translations, which are as many as the answer has itself.
    waiting: VecDeque<String>,
}

/// A segment or a translation as a piece.
#[derive(Serialize)]
struct Named<T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    translation: Option<T>,
}

impl Pieces {
    pub(super) fn new(notes: mpsc::Sender<Note>, request: Fingerprint, form: &Form, head: &Head) -> Self {
        let writer = match form {
            Form::Json { shape, .. } => shape.writer(head.clone()),
            Form::Speech { .. } => None,
        };
        Self {
            notes,
            request,
            writer,
            begun: false,
            places: Arc::new(Semaphore::new(PIECES_PER_JOB)),
            number: 0,
            written: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Takes a part and sends what there is a place for. Never waits.
    fn take(&mut self, part: Part, model: &str) -> Result<(), WireError> {
        if !self.begun {
            self.begun = true;
            if let Some(writer) = &mut self.writer {
                writer.begin(model);
            }
        }
        match part {
            Part::Delta(delta) => match self.written.iter_mut().find(|earlier| earlier.index == delta.index) {
                Some(earlier) => earlier.append(delta),
                None => self.written.push(delta),
            },
            Part::Segment(segment) => {
                self.waiting.push_back(text(&Named { segment: Some(segment), translation: None })?)
            }
            Part::Translation(translation) => {
                self.waiting.push_back(text(&Named { segment: None, translation: Some(translation) })?);
            }
            Part::Done(_) => {}
        }
        self.send()
    }

    fn send(&mut self) -> Result<(), WireError> {
        while let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            if self.waiting.is_empty()
                && let Some(writer) = &mut self.writer
            {
                for delta in self.written.drain(..) {
                    self.waiting.extend(writer.delta(delta)?);
                }
            }
            let Some(piece) = self.waiting.pop_front() else { return Ok(()) };
            let payload = Bytes::from(numbered(self.number, false, &piece));
            let note = Note::Piece { request: self.request, payload, place: Arc::new(place) };
            if self.notes.try_send(note).is_err() {
                // The link has much to do; the place is free again, and the piece goes with the next part.
                self.waiting.push_front(piece);
                return Ok(());
            }
            self.number += 1;
        }
        Ok(())
    }

    /// The prompt of now is answered; the next one's deltas are numbered from there.
    fn next_prompt(&mut self) {
        self.begun = false;
        self.written.clear();
        if let Some(writer) = &mut self.writer {
            writer.skip();
        }
    }
}

/// A place among the pieces that wait, given back when the piece is published or dropped.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

fn text(value: &impl Serialize) -> Result<String, WireError> {
    serde_json::to_string(value).map_err(|e| error::unserializable(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_numbered_and_anything_else_stays() {
        assert_eq!(numbered(3, false, r#"{"a":1}"#), r#"{"seq":3,"final":false,"a":1}"#);
        assert_eq!(numbered(0, true, "{}"), r#"{"seq":0,"final":true}"#);
        assert_eq!(numbered(0, true, "[1]"), "[1]");
    }
}
