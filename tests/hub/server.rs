//! A hub of one repository: lists its files, answers for each with ETag and commit, and sends large ones from another
//! host, as the real one does. It writes down every request and can be made to fail.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::files_below;

pub const NAME: &str = "maker/small-model";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
}

/// What to do instead of answering well.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A status, `X-Error-Code` and `X-Error-Message`.
    Status(u16, &'static str, &'static str),
    /// Sends half of what was asked for and closes the connection, so many times.
    Cut(usize),
    /// Sends the first half of a file and never more.
    FirstHalf,
    /// Sends as many other bytes.
    Damage,
    /// Sends the whole file, whatever range was asked for.
    NoRanges,
    /// Answers like a page of a hotel's network.
    Portal,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Branches and tags.
    revisions: HashMap<String, String>,
    /// The first whose text is in the path counts.
    faults: Vec<(String, Fault)>,
    log: Vec<Request>,
}

pub struct FakeHub {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl FakeHub {
    /// Serves the files of a folder, and what belongs to no job beside them.
    pub fn serving(folder: &Path) -> Self {
        let mut state = State::default();
        for (path, content) in files_below(folder) {
            state.files.insert(path.to_str().unwrap().to_string(), content);
        }
        for extra in EXTRAS {
            state.files.insert(extra.into(), b"never needed".to_vec());
        }
        state.revisions.insert("main".into(), COMMIT.into());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &shared, port));
            }
        });
        FakeHub { port, state }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn fault(&self, path: &str, fault: Fault) {
        self.state.lock().unwrap().faults.push((path.into(), fault));
    }

    pub fn well_again(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    pub fn put(&self, file: &str, content: &[u8]) {
        self.state.lock().unwrap().files.insert(file.into(), content.to_vec());
    }

    pub fn remove(&self, file: &str) {
        self.state.lock().unwrap().files.remove(file).unwrap();
    }

    pub fn revision(&self, name: &str, commit: &str) {
        self.state.lock().unwrap().revisions.insert(name.into(), commit.into());
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// The files whose content was asked for since the last call.
    pub fn fetched(&self) -> Vec<String> {
        let requests = self.requests();
        let contents = requests.iter().filter(|request| request.method == "GET" && request.path.contains("/resolve/"));
        let mut files: Vec<String> =
            contents.map(|request| request.path.split(COMMIT).nth(1).unwrap()[1..].to_string()).collect();
        files.sort();
        files
    }
}

/// Other formats, other precisions, whole checkpoints in one file, pictures.
pub const EXTRAS: [&str; 14] = [
    ".gitattributes",
    "README.md",
    "small.safetensors",
    "small_incl_clips.safetensors",
    "demo.png",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "text_encoder/flax_model.msgpack",
    "text_encoder/model.onnx",
    "text_encoders/clip_g.safetensors",
    "transformer/diffusion_pytorch_model.fp16.safetensors",
    "transformer/diffusion_pytorch_model.bin",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "vae/preview.jpg",
];

pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Large files go by the SHA-256 of their content, small ones by forty digits.
pub fn etag(file: &str, content: &[u8]) -> String {
    let hash = sha256(content);
    if file.ends_with(".safetensors") { hash } else { hash[..40].into() }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let headers = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| line.split_once(": ").map(|(k, v)| (k.to_ascii_lowercase(), v.into())));
    Some(Request { method, path, headers: headers.collect() })
}

fn answer(mut stream: TcpStream, state: &Mutex<State>, port: u16) {
    let Some(request) = read_request(&stream) else { return };
    let mut state = state.lock().unwrap();
    state.log.push(request.clone());
    let fault = state.faults.iter_mut().find(|(part, fault)| {
        let content = matches!(fault, Fault::Cut(_) | Fault::FirstHalf | Fault::Damage | Fault::NoRanges);
        request.path.contains(part.as_str()) && !(content && request.method == "HEAD")
    });
    let fault = fault.map(|(_, fault)| {
        let now = fault.clone();
        if let Fault::Cut(times) = fault {
            *times = times.saturating_sub(1);
        }
        now
    });
    let head = request.method == "HEAD";
    let (status, headers, body) = match fault {
        Some(Fault::Status(status, code, message)) => {
            (status, format!("X-Error-Code: {code}\r\nX-Error-Message: {message}\r\n"), Vec::new())
        }
        Some(Fault::Portal) => (200, String::new(), b"<html>Welcome to the hotel</html>".to_vec()),
        ref fault => respond(&state, &request, port, fault.as_ref()),
    };
    drop(state);
    let mut length = body.len();
    let sent = match fault {
        Some(Fault::Cut(times)) if times > 0 => &body[..length / 2],
        Some(Fault::FirstHalf) if request.path.starts_with("/cdn/") => {
            if request.headers.contains_key("range") {
                &[]
            } else {
                &body[..length / 2]
            }
        }
        _ => &body[..],
    };
    if head && status == 200 {
        length = headers.split("X-Length: ").nth(1).and_then(|text| text.split('\r').next()?.parse().ok()).unwrap_or(0);
    }
    let start = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(start.as_bytes());
    if !head {
        let _ = stream.write_all(sent);
    }
}

fn respond(state: &State, request: &Request, port: u16, fault: Option<&Fault>) -> (u16, String, Vec<u8>) {
    let not_found = |code: &str| (404, format!("X-Error-Code: {code}\r\n"), Vec::new());
    if let Some(revision) = request.path.strip_prefix(&format!("/api/models/{NAME}/revision/")) {
        let revision = revision.replace("%2F", "/");
        let known = state.revisions.values().find(|commit| **commit == revision);
        let Some(commit) = state.revisions.get(&revision).or(known) else { return not_found("RevisionNotFound") };
        let siblings: Vec<_> = state.files.keys().map(|file| json!({ "rfilename": file })).collect();
        let body = json!({ "id": NAME, "sha": commit, "private": false, "siblings": siblings });
        return (200, String::new(), body.to_string().into_bytes());
    }
    if let Some(rest) = request.path.strip_prefix(&format!("/{NAME}/resolve/")) {
        let (commit, file) = rest.split_once('/').unwrap();
        let Some(content) = state.files.get(file) else { return not_found("EntryNotFound") };
        let etag = etag(file, content);
        let mut headers = format!("X-Repo-Commit: {commit}\r\n");
        if file.ends_with(".safetensors") {
            headers += &format!("X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {}\r\n", content.len());
            headers += &format!("ETag: \"of-the-redirect\"\r\nLocation: http://localhost:{port}/cdn/{file}\r\n");
            return (302, headers, Vec::new());
        }
        headers += &format!("ETag: W/\"{etag}\"\r\nX-Length: {}\r\n", content.len());
        return (200, headers, if request.method == "HEAD" { Vec::new() } else { content.clone() });
    }
    if let Some(file) = request.path.strip_prefix("/cdn/") {
        let mut content = state.files[file].clone();
        if let Some(Fault::Damage) = fault {
            content.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        let range = request.headers.get("range").filter(|_| !matches!(fault, Some(Fault::NoRanges)));
        if let Some(range) = range {
            let from: usize = range.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap();
            let headers = format!("Content-Range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len());
            return (206, headers, content.split_off(from));
        }
        return (200, String::new(), content);
    }
    (401, "X-Error-Code: RepoNotFound\r\nX-Error-Message: Repository not found\r\n".into(), Vec::new())
}
