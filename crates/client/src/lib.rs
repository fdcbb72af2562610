//! Talks to `linnetd`: over its local socket ([`Local`]) or over an MQTT broker ([`mqtt::Remote`]). `linnet` is made of it.
//!
//! ```no_run
//! # async fn example() -> Result<(), linnet_client::ClientError> {
//! use linnet_client::{Audio, Local, Terms, socket};
//! use linnet_proto::TranscribeOptions;
//!
//! let daemon = Local::new(socket::default_path());
//! let audio = Audio::open("recording.wav".as_ref()).await?;
//! let heard = daemon.transcribe(audio, &TranscribeOptions::default(), Terms::default(), |_segment| {}).await?;
//! println!("{}", heard.text);
//! # Ok(())
//! # }
//! ```

mod archive;
mod audio;
pub mod cli;
mod clock;
mod error;
mod events;
mod json_request;
mod local;
pub mod mqtt;
mod query;
mod refusal;
pub mod socket;
mod terms;

pub use archive::Archive;
pub use audio::Audio;
pub use error::ClientError;
pub use json_request::{Daemon, Task};
pub use local::Local;
pub use terms::Terms;
