//! A scripted Messages API on a port of its own: the replies go out in the order in which the
//! requests come in, and every request is recorded.
//!
//! It is as strict as the real one: what breaks a rule of the protocol is refused, remembered as a
//! violation, and takes no reply from the script. Questions about a model stand beside the script.

use std::any::Any;
use std::collections::VecDeque;
use std::io::BufReader;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use super::binding::{self, Mismatch};
use super::protocol;
use super::reply::Reply;
use super::request::Request;
use super::response::{Connection, Response};

/// How long a test waits for the program to ask something.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    script: VecDeque<Reply>,
    requests: Vec<Request>,
    /// Answers every question about a model; nothing is known of any if there is none.
    description: Option<Box<dyn Fn() -> Reply + Send>>,
    /// The only models there are, if that is known.
    models: Option<&'static [&'static str]>,
    model_requests: Vec<Request>,
    violations: Vec<String>,
    /// By number; kept to shut them down.
    connections: Vec<TcpStream>,
    stopped: bool,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || accept(&listener, &accepting))
            .expect("a thread");
        Server { address, shared, acceptor: Some(acceptor) }
    }

    /// The base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Appends to the script, also while it runs.
    pub fn push(&self, reply: Reply) {
        self.shared.state.lock().unwrap().script.push_back(reply);
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// Answers `GET /v1/models/ID` with what `describe` returns, instead of 404.
    pub fn describe_model(&self, describe: impl Fn() -> Reply + Send + 'static) {
        self.shared.state.lock().unwrap().description = Some(Box::new(describe));
    }

    /// Has only these models, and a list of them.
    pub fn list_models(&self, models: &'static [&'static str]) {
        self.shared.state.lock().unwrap().models = Some(models);
    }

    /// Every `GET /v1/models` and `GET /v1/models/ID` so far; they are not among the `requests`.
    pub fn model_requests(&self) -> Vec<Request> {
        self.shared.state.lock().unwrap().model_requests.clone()
    }

    /// Waits for the request number `n` (from 1); returns all requests.
    #[track_caller]
    pub fn wait_for_requests(&self, n: usize) -> Vec<Request> {
        let state = self.shared.state.lock().unwrap();
        let (state, waited) = self
            .shared
            .arrived
            .wait_timeout_while(state, REQUEST_DEADLINE, |state| state.requests.len() < n)
            .unwrap();
        let requests = state.requests.clone();
        // A panic under the lock would poison it.
        drop(state);
        if waited.timed_out() {
            panic!("waited for {n} requests, saw {} in {REQUEST_DEADLINE:?}", requests.len());
        }
        requests
    }

    /// What was wrong with requests, or with the script itself.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().violations.clone()
    }

    /// How many replies of the script nobody has asked for.
    pub fn unused(&self) -> usize {
        self.shared.state.lock().unwrap().script.len()
    }
}

/// Closes every connection. Threads that stand at a gate are not waited for.
impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.state.lock() {
            state.stopped = true;
            for connection in &state.connections {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        // Wakes `accept`, which then sees that it is over.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    /// The reply to a request that has just come in.
    fn reply_to(&self, request: &Request) -> Reply {
        let mut state = self.state.lock().unwrap();
        let answer = match model_of(request) {
            Some(_) => state.description(request),
            None => state.answer(request),
        };
        self.arrived.notify_all();
        answer.unwrap_or_else(|(status, error_type, message)| {
            let number = state.requests.len();
            state.violations.push(format!("request {number}: {message}"));
            Reply::error(status, error_type, &message)
        })
    }

    fn response_to(&self, request: &Request) -> Response {
        let reply = self.reply_to(request);
        catch_unwind(AssertUnwindSafe(|| reply.ready(request))).unwrap_or_else(|panic| {
            let message = format!("the script failed: {}", panic_text(panic.as_ref()));
            self.state.lock().unwrap().violations.push(message.clone());
            Reply::error(400, "invalid_request_error", &message).ready(request)
        })
    }
}

/// Status, error type and message of what must not happen.
type Refusal = (u16, &'static str, String);

impl State {
    fn answer(&mut self, request: &Request) -> Result<Reply, Refusal> {
        self.requests.push(request.clone());
        let path = request.path.split('?').next().unwrap_or_default();
        if request.method != "POST" || !path.ends_with("/v1/messages") {
            let message = format!("no such endpoint: {} {}", request.method, request.path);
            return Err((404, "not_found_error", message));
        }
        authorize(request)?;
        let refused = |message| (400, "invalid_request_error", message);
        if let Some(message) = protocol::violation(&request.headers, &request.body) {
            return Err(refused(message));
        }
        match binding::mismatch(&request.body) {
            Some(Mismatch { message, is_wanted: true }) => {
                Ok(Reply::error(400, "invalid_request_error", &message))
            }
            Some(Mismatch { message, .. }) => Err(refused(message)),
            None => {
                self.script.pop_front().ok_or_else(|| refused("the script has no more replies".to_owned()))
            }
        }
    }

    fn description(&mut self, request: &Request) -> Result<Reply, Refusal> {
        self.model_requests.push(request.clone());
        authorize(request)?;
        if let Some(message) = protocol::wrong_version(&request.headers) {
            return Err((400, "invalid_request_error", message));
        }
        let nothing = || Reply::error(404, "not_found_error", "nothing is known of this model");
        let listed = |models: &[&str]| {
            let models: Vec<_> = models.iter().map(|id| json!({"type": "model", "id": id})).collect();
            Reply::json(&json!({"data": models, "has_more": false}))
        };
        let model = model_of(request).unwrap_or_default();
        Ok(match (self.models, &self.description) {
            (Some(models), _) if model.is_empty() => listed(models),
            (Some(models), _) if !models.contains(&model) => nothing(),
            (_, Some(describe)) if !model.is_empty() => describe(),
            _ => nothing(),
        })
    }
}

fn authorize(request: &Request) -> Result<(), Refusal> {
    let unauthorized = protocol::unauthorized(&request.headers);
    unauthorized.map_or(Ok(()), |message| Err((401, "authentication_error", message)))
}

/// The model that a request asks about; an empty text if it asks for all of them.
fn model_of(request: &Request) -> Option<&str> {
    let (_, path) = request.path.split_once("/v1/models").filter(|_| request.method == "GET")?;
    Some(path.split('?').next().unwrap_or_default().trim_start_matches('/'))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            return;
        };
        let mut state = shared.state.lock().unwrap();
        if state.stopped {
            return;
        }
        let number = state.connections.len();
        state.connections.push(stream.try_clone().expect("a free file descriptor"));
        drop(state);
        let shared = Arc::clone(shared);
        thread::Builder::new()
            .name(format!("connection-{number}"))
            .spawn(move || serve(&stream, number, &shared))
            .expect("a thread");
    }
}

/// Answers one connection until either side closes it. A client may go away at any time: an error
/// is the end of the connection, nothing else.
fn serve(stream: &TcpStream, number: usize, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut input = BufReader::new(stream);
    let mut output = stream;
    while let Ok(Some(request)) = Request::read(&mut input, number) {
        let sent = shared.response_to(&request).send(&mut output);
        if !matches!(sent, Ok(Connection::Keep)) {
            break;
        }
    }
    // The copy in `State::connections` would keep the connection open.
    let _ = stream.shutdown(Shutdown::Both);
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown panic")
}
