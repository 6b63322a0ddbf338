// SPDX-License-Identifier: Apache-2.0
//! iceoryx2 as a peer of bench/side_by_side.py: an image goes from one process to another of the same machine.
//!
//!     iceoryx2_peer give NAME BYTES HZ                says "ready NAME", publishes until its standard input ends
//!     iceoryx2_peer take NAME BYTES next|next_polling|newest N     prints N figures, nanoseconds, as a JSON array
//!
//! Its best form, as its own examples and benchmarks have it: samples are loaned and filled in place, one is kept for each
//! subscriber and the newest overwrites it, and who waits for the next sleeps on a listener that the publisher notifies.
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::sample::Sample;
use std::error::Error;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

type Answer<T> = Result<T, Box<dyn Error>>;
type Bytes = [u8];

/// The clock that all processes share, as C++'s and Python's have it.
fn now_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn sleep_until(at: i64) {
    let until = libc::timespec { tv_sec: at / 1_000_000_000, tv_nsec: at % 1_000_000_000 };
    unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &until, std::ptr::null_mut()) };
}

struct Services {
    node: Node<ipc::Service>,
    name: String,
}

impl Services {
    fn new(name: &str) -> Answer<Self> {
        Ok(Self { node: NodeBuilder::new().create::<ipc::Service>()?, name: name.to_string() })
    }

    fn images(&self) -> Answer<iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, Bytes, ()>> {
        let service = self.node.service_builder(&self.name.as_str().try_into()?).publish_subscribe::<Bytes>();
        Ok(service.subscriber_max_buffer_size(1).history_size(1).enable_safe_overflow(true).open_or_create()?)
    }

    fn events(&self) -> Answer<iceoryx2::service::port_factory::event::PortFactory<ipc::Service>> {
        Ok(self.node.service_builder(&self.name.as_str().try_into()?).event().open_or_create()?)
    }

    fn publisher(&self, bytes: usize) -> Answer<(Publisher<ipc::Service, Bytes, ()>, Notifier<ipc::Service>)> {
        let publisher = self.images()?.publisher_builder().initial_max_slice_len(bytes).create()?;
        Ok((publisher, self.events()?.notifier_builder().create()?))
    }

    fn subscriber(&self) -> Answer<(Subscriber<ipc::Service, Bytes, ()>, Listener<ipc::Service>)> {
        Ok((self.images()?.subscriber_builder().create()?, self.events()?.listener_builder().create()?))
    }
}

fn publish(name: &str, bytes: usize, hz: f64) -> Answer<()> {
    let services = Services::new(name)?;
    let (publisher, notifier) = services.publisher(bytes)?;
    let over = Arc::new(AtomicBool::new(false));
    let told = over.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    println!("ready {name}");
    let period = (1e9 / hz) as i64;
    let mut following = now_ns();
    let mut number = 0u8;
    while !over.load(Ordering::Relaxed) {
        following += period;
        sleep_until(following);
        let mut sample = publisher.loan_slice_uninit(bytes)?;
        // The driver: pixels are in the sample before the clock starts.
        let image = sample.payload_mut();
        unsafe { std::ptr::write_bytes(image.as_mut_ptr().cast::<u8>(), number, bytes) };
        number = number.wrapping_add(1);
        let stamp = now_ns().to_ne_bytes();
        unsafe { std::ptr::copy_nonoverlapping(stamp.as_ptr(), image.as_mut_ptr().cast::<u8>(), stamp.len()) };
        unsafe { sample.assume_init() }.send()?;
        notifier.notify()?;
    }
    Ok(())
}

fn stamp_of(sample: &Sample<ipc::Service, Bytes, ()>) -> i64 {
    i64::from_ne_bytes(sample.payload()[..8].try_into().expect("an image has more than eight bytes"))
}

/// The first are left out, as all peers do.
const WARM_UPS: usize = 10;

/// From right before an image was published until it is in hand. `polls`: asks over and over instead of sleeping.
fn take_next(services: &Services, count: usize, polls: bool) -> Answer<Vec<i64>> {
    let (subscriber, listener) = services.subscriber()?;
    let mut held = None;
    let mut times = Vec::new();
    while times.len() < WARM_UPS + count {
        if !polls {
            listener.timed_wait(|_| {}, Duration::from_secs(5))?;
        }
        if let Some(sample) = subscriber.receive()? {
            times.push(now_ns() - stamp_of(&sample));
            held = Some(sample);
        }
    }
    drop(held);
    Ok(times.split_off(WARM_UPS))
}

/// How long it takes to get at the newest image, at a time of one's own.
fn take_newest(services: &Services, count: usize) -> Answer<Vec<i64>> {
    let (subscriber, _listener) = services.subscriber()?;
    let mut held: Option<Sample<ipc::Service, Bytes, ()>> = None;
    let mut times = Vec::new();
    while times.len() < WARM_UPS + count {
        let began = now_ns();
        if let Some(sample) = subscriber.receive()? {
            held = Some(sample);
        }
        let Some(newest) = &held else { continue };
        let stamp = std::hint::black_box(stamp_of(newest));
        let ended = now_ns();
        if stamp < ended {
            times.push(ended - began);
        }
        while now_ns() < ended + 8_000_000 {}  // a policy that computes
    }
    Ok(times.split_off(WARM_UPS))
}

fn main() -> Answer<()> {
    set_log_level(LogLevel::Error);
    let told: Vec<String> = std::env::args().skip(1).collect();
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    match told.as_slice() {
        ["give", name, bytes, hz] => publish(name, bytes.parse()?, hz.parse()?),
        ["take", name, _, asked, count] => {
            let services = Services::new(name)?;
            let count = count.parse()?;
            let times = match *asked {
                "next" => take_next(&services, count, false)?,
                "next_polling" => take_next(&services, count, true)?,
                _ => take_newest(&services, count)?,
            };
            println!("{times:?}");
            Ok(())
        }
        _ => Err("expected: give NAME BYTES HZ, or take NAME BYTES next|next_polling|newest N".into()),
    }
}
