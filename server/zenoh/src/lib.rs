// SPDX-License-Identifier: Apache-2.0
//! What Chiral needs of Zenoh, in C. What each function promises stands in include/chiral_zenoh.h; here is how.
//!
//! Handles are boxes that were leaked. A panic is an error of the function in which it happened: nothing unwinds into C++.

use std::any::Any;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, ptr, slice};

use bytes::Bytes as SharedBytes;
use serde_json::Value;
use zenoh::bytes::ZBytes;
use zenoh::key_expr::KeyExpr;
use zenoh::matching::MatchingStatus;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;
use zenoh::sample::{Sample, SampleKind};
use zenoh::{Config, Session, Wait};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ErrorText {
    text: *mut c_char,
    size: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Piece {
    data: *const u8,
    size: usize,
}

impl Piece {
    fn of(bytes: &[u8]) -> Self {
        Piece { data: bytes.as_ptr(), size: bytes.len() }
    }
    /// The caller of the function that got the piece keeps it readable until that returns.
    unsafe fn bytes<'a>(&self) -> &'a [u8] {
        if self.size == 0 {
            &[]
        } else {
            slice::from_raw_parts(self.data, self.size)
        }
    }
}

#[repr(C)]
pub struct SampleView {
    key: Piece,
    attachment: Piece,
    pieces: *const Piece,
    piece_count: usize,
    gone: c_int,
}

/// A function in C with its context, which it owns.
#[repr(C)]
pub struct Callback<Argument> {
    call: extern "C" fn(*mut c_void, Argument),
    drop: extern "C" fn(*mut c_void),
    context: *mut c_void,
}

// The header asks callbacks to be callable on any thread.
unsafe impl<Argument> Send for Callback<Argument> {}
unsafe impl<Argument> Sync for Callback<Argument> {}

impl<Argument> Drop for Callback<Argument> {
    fn drop(&mut self) {
        (self.drop)(self.context)
    }
}

impl Callback<*const SampleView> {
    fn tell(&self, sample: &Sample) {
        let attachment = sample.attachment().map(ZBytes::to_bytes);
        let pieces: Vec<Piece> = sample.payload().slices().map(Piece::of).collect();
        let view = SampleView {
            key: Piece::of(sample.key_expr().as_str().as_bytes()),
            attachment: Piece::of(attachment.as_deref().unwrap_or_default()),
            pieces: pieces.as_ptr(),
            piece_count: pieces.len(),
            gone: (sample.kind() == SampleKind::Delete).into(),
        };
        (self.call)(self.context, &view)
    }
}

impl Callback<c_int> {
    fn tell(&self, matching: bool) {
        (self.call)(self.context, matching.into())
    }
}

/// What has borrowed memory of the caller's is told when the last piece of it is let go.
struct Loan {
    released: extern "C" fn(*mut c_void),
    context: *mut c_void,
}

unsafe impl Send for Loan {}
unsafe impl Sync for Loan {}

impl Drop for Loan {
    fn drop(&mut self) {
        (self.released)(self.context)
    }
}

struct Lent {
    bytes: &'static [u8],
    _loan: Arc<Loan>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

pub struct Declaration {
    _undeclared_when_dropped: Box<dyn Any + Send>,
}

fn declared(declaration: impl Any + Send) -> *mut Declaration {
    Box::into_raw(Box::new(Declaration { _undeclared_when_dropped: Box::new(declaration) }))
}

unsafe fn write(error: ErrorText, text: &str) {
    let size = text.len().min(error.size - 1);
    ptr::copy_nonoverlapping(text.as_ptr(), error.text.cast::<u8>(), size);
    *error.text.add(size) = 0;
}

unsafe fn run<T>(error: ErrorText, failed: T, body: impl FnOnce() -> Outcome<T>) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(why)) => {
            write(error, &why.to_string());
            failed
        }
        Err(_) => {
            write(error, "a panic in Zenoh, of which standard error says more");
            failed
        }
    }
}

unsafe fn text<'a>(text: *const c_char) -> Outcome<&'a str> {
    Ok(CStr::from_ptr(text).to_str()?)
}

unsafe fn key(name: *const c_char) -> Outcome<KeyExpr<'static>> {
    KeyExpr::try_from(text(name)?.to_owned())
}

/// `over` counts where both say something.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                merge(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

fn configuration(own: &str, file: Option<&str>) -> Outcome<Config> {
    let mut config: Value = json5::from_str(own)?;
    if let Some(file) = file {
        let text = fs::read_to_string(file).map_err(|why| format!("{file}: {why}"))?;
        let given: Value = json5::from_str(&text).map_err(|why| format!("{file}: {why}"))?;
        if !given.is_object() {
            return Err(format!("{file}: expected an object of Zenoh's configuration").into());
        }
        merge(&mut config, given);
    }
    Config::from_json5(&config.to_string())
}

/// # Safety
/// See the header; so with all that follow.
#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_open(config: *const c_char, config_file: *const c_char, error: ErrorText) -> *mut Session {
    run(error, ptr::null_mut(), || {
        let file = if config_file.is_null() { None } else { Some(text(config_file)?) };
        let session = zenoh::open(configuration(text(config)?, file)?).wait()?;
        Ok(Box::into_raw(Box::new(session)))
    })
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_close(session: *mut Session) {
    let session = Box::from_raw(session);
    // A session that does not close in order is dropped: its links end with it.
    let _ = catch_unwind(AssertUnwindSafe(|| session.close().wait()));
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_id(session: *const Session, id: *mut c_char) {
    write(ErrorText { text: id, size: 33 }, &(*session).zid().to_string())
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_publish(
    session: *const Session,
    name: *const c_char,
    drops: c_int,
    error: ErrorText,
) -> *mut Publisher<'static> {
    run(error, ptr::null_mut(), || {
        let congestion = if drops != 0 { CongestionControl::Drop } else { CongestionControl::Block };
        let publisher = (*session).declare_publisher(key(name)?).congestion_control(congestion).express(true).wait()?;
        Ok(Box::into_raw(Box::new(publisher)))
    })
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_put(
    publisher: *const Publisher<'static>,
    pieces: *const Piece,
    piece_count: usize,
    attachment: Piece,
    released: extern "C" fn(*mut c_void),
    context: *mut c_void,
    error: ErrorText,
) -> c_int {
    let loan = Arc::new(Loan { released, context });
    run(error, 0, || {
        let mut payload = ZBytes::writer();
        let pieces = if piece_count == 0 { &[] } else { slice::from_raw_parts(pieces, piece_count) };
        for piece in pieces.iter().filter(|piece| piece.size != 0) {
            let lent = Lent { bytes: piece.bytes(), _loan: loan.clone() };
            payload.append(ZBytes::from(SharedBytes::from_owner(lent)));
        }
        drop(loan);
        (*publisher).put(payload.finish()).attachment(attachment.bytes()).wait()?;
        Ok(1)
    })
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_matching(publisher: *const Publisher<'static>) -> c_int {
    let matching = catch_unwind(AssertUnwindSafe(|| (*publisher).matching_status().wait()));
    matches!(matching, Ok(Ok(status)) if status.matching()).into()
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_unpublish(publisher: *mut Publisher<'static>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(publisher))));
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_subscribe(
    session: *const Session,
    keys: *const c_char,
    on_sample: Callback<*const SampleView>,
    error: ErrorText,
) -> *mut Declaration {
    run(error, ptr::null_mut(), move || {
        let subscriber = (*session).declare_subscriber(key(keys)?).callback(move |sample| on_sample.tell(&sample)).wait()?;
        Ok(declared(subscriber))
    })
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_watch_matching(
    publisher: *const Publisher<'static>,
    on_matching: Callback<c_int>,
    error: ErrorText,
) -> *mut Declaration {
    run(error, ptr::null_mut(), move || {
        let tell = move |status: MatchingStatus| on_matching.tell(status.matching());
        Ok(declared((*publisher).matching_listener().callback(tell).wait()?))
    })
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_token(session: *const Session, name: *const c_char, error: ErrorText) -> *mut Declaration {
    run(error, ptr::null_mut(), || Ok(declared((*session).liveliness().declare_token(key(name)?).wait()?)))
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_watch_tokens(
    session: *const Session,
    keys: *const c_char,
    on_sample: Callback<*const SampleView>,
    error: ErrorText,
) -> *mut Declaration {
    run(error, ptr::null_mut(), move || {
        let liveliness = (*session).liveliness();
        let watch = liveliness.declare_subscriber(key(keys)?).history(true).callback(move |sample| on_sample.tell(&sample));
        Ok(declared(watch.wait()?))
    })
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_find_tokens(
    session: *const Session,
    keys: *const c_char,
    timeout_ms: u64,
    on_sample: Callback<*const SampleView>,
    error: ErrorText,
) -> c_int {
    run(error, 0, move || {
        let replies = (*session).liveliness().get(key(keys)?).timeout(Duration::from_millis(timeout_ms)).wait()?;
        while let Ok(reply) = replies.recv() {
            if let Ok(sample) = reply.result() {
                on_sample.tell(sample);
            }
        }
        Ok(1)
    })
}

#[no_mangle]
pub unsafe extern "C" fn chiral_zenoh_undeclare(declaration: *mut Declaration) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(declaration))));
}
