//! `linnet transcribe`.

use std::path::Path;
use std::process::ExitCode;

use linnet_proto::Transcript;
use linnet_proto::format::{Granularities, ResponseFormat, render};
use tokio::io::AsyncReadExt;

use super::args::{Format, TranscribeArgs};
use super::output;
use super::progress::{Progress, wav_secs};
use crate::mqtt::{Broker, Remote};
use crate::{Audio, ClientError, Local};

pub(super) async fn run(local: &Local, args: TranscribeArgs) -> Result<ExitCode, ClientError> {
    let options = args.options();
    // The same rules as the daemon's, before anything is read or sent.
    options.check().map_err(ClientError::Refused)?;
    let terms = args.terms();
    let transcript = match (&args.mqtt, &args.device) {
        (Some(url), Some(device)) => {
            let broker = Broker::parse(url, args.mqtt_password.clone(), args.ca_file.clone())?;
            let audio = Audio::open(&args.file).await?;
            let _progress = Progress::wait(args.quiet, device);
            Remote::new(broker, device.clone()).transcribe(audio, &options, terms).await?
        }
        _ => {
            let audio = Audio::open(&args.file).await?;
            let progress = Progress::begin(args.quiet, length_of(&args.file, &audio).await);
            local.transcribe(audio, &options, terms, |segment| progress.heard(segment)).await?
        }
    };
    print(&transcript, if args.json { Format::Json } else { args.format })?;
    Ok(ExitCode::SUCCESS)
}

/// The length of a WAV file, for the progress bar.
async fn length_of(path: &Path, audio: &Audio) -> Option<f64> {
    let bytes = audio.len()?;
    let mut head = [0; 32];
    tokio::fs::File::open(path).await.ok()?.read_exact(&mut head).await.ok()?;
    wav_secs(&head, bytes)
}

fn print(transcript: &Transcript, format: Format) -> Result<(), ClientError> {
    let format = match format {
        Format::Text => ResponseFormat::Text,
        Format::Srt => ResponseFormat::Srt,
        Format::Vtt => ResponseFormat::Vtt,
        Format::Json => return output::json(transcript),
        Format::VerboseJson => ResponseFormat::VerboseJson,
    };
    let granularities = Granularities { segment: true, word: true };
    let mut text = render(transcript, format, granularities).map_err(|e| ClientError::Output(e.into()))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    output::write(&text)
}
