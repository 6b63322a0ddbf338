// SPDX-License-Identifier: Apache-2.0
#include "imaging/want_pool.hpp"

#include <algorithm>
#include <exception>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <utility>

#ifdef __linux__
#include <sched.h>
#include <sys/resource.h>
#endif
#include <pthread.h>
#include <csignal>

namespace chiral::imaging {

namespace {

// Finding one means looking at all, which must stay a matter of microseconds.
constexpr std::size_t most_kept = 256;

// Behind what the robot's own threads have to do, and no signal's business. The hook's thread, which starts these, may be one of
// real time; its policy is not for them.
void enter_background() noexcept {
    ::sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
#ifdef __linux__
    ::pthread_setname_np(::pthread_self(), "chiral-encode");
    const ::sched_param ordinary{};
    ::sched_setscheduler(0, SCHED_OTHER, &ordinary);
    ::setpriority(PRIO_PROCESS, 0, 10);  // of this thread alone, on Linux; one that may not be nicer stays as it is
#endif
}

// Where there is no memory for words either, a few that need none.
void say(std::string& problem, std::initializer_list<const char*> parts) noexcept {
    try {
        problem.clear();
        for (const char* part : parts) problem += part;
    } catch (const std::exception&) {
        problem = "out of memory";
    }
}

}  // namespace

/// What is made, and of what. Two are the same if their keys are, and the sample is known.
struct WantPool::Key {
    std::string camera;
    bool depth{false};
    CameraWish wish;              // as in Piece
    std::uint64_t sequence{0};    // as in Piece
    const void* pixels{nullptr};  // of one sample there is one place, but a hook may have put that of another here

    bool replaces(const Key& older) const noexcept {
        return camera == older.camera && depth == older.depth && wish == older.wish;
    }
    bool same(const Key& other) const noexcept {
        return sequence == other.sequence && pixels == other.pixels && replaces(other);
    }
};

/// One picture or depth map for those who want it. References: of the list of those that are kept, of orders, of the queue, and
/// of observations that borrow the bytes.
class WantPool::Encoding final : public Loan {
public:
    void add_ref() noexcept override { references_.fetch_add(1, std::memory_order_relaxed); }
    // acq_rel: the last one to drop comes after the reads of all others, as in every reference count.
    void drop_ref() noexcept override {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
    Owner share() noexcept {
        add_ref();
        return Owner(this);
    }
    /// By others than its one owner. acquire pairs with drop_ref(): their reads come before what is written next.
    bool shared() const noexcept { return references_.load(std::memory_order_acquire) > 1; }
    std::size_t capacity() const noexcept { return image.bytes.capacity() + depth.bytes.capacity(); }

    Key key;

    // Of the thread that makes it, until it is ready.
    Piece piece{};  // the pixels that it is made of
    std::size_t stored_bytes{0};
    bool broken{false};  // they were a stream that is none
    EncodedImage image;
    EncodedDepth depth;

    // Guarded by the pool's mutex.
    bool ready{false};
    std::string problem;
    std::vector<std::shared_ptr<Order>> waiting;  // the first one holds the pixels
    std::uint64_t used{0};

private:
    std::atomic<std::uint32_t> references_{1};
};

void WantPool::Drop::operator()(Encoding* encoding) const noexcept { encoding->drop_ref(); }

/// An observation on its way.
struct WantPool::Order {
    Order(Observation& obs, std::shared_ptr<const wire::WantRequest> wanted, const Reduction& reduced_to,
          std::unique_ptr<Customer> whose)
        : observation(obs), want(std::move(wanted)), reduction(reduced_to), customer(std::move(whose)) {}

    Observation& observation;
    const std::shared_ptr<const wire::WantRequest> want;
    const Reduction reduction;
    const std::unique_ptr<Customer> customer;

    struct Part {
        std::size_t camera;
        bool depth;
        Owner encoding;
    };
    std::vector<Part> parts;
    std::atomic<std::size_t> missing{1};  // parts, and one while the order is being read
    std::string problem;                  // of the thread that reads it; then of the one that finishes it
};

/// What a thread of the pool works with.
struct WantPool::Tools {
    ImageEncoder encoder;
    ImageDecoder decoder;
    std::vector<std::uint8_t> pixels;
    std::vector<float> metres;

    /// Of a camera that delivers streams. Zeros, and false, if this is none.
    bool decode(const std::uint8_t* stream, std::size_t size, const Piece& piece) {
        pixels.assign(piece.format.bytes(), 0);
        if (size == 0) return false;
        try {
            decoder.image({stream, size}, piece.stored, piece.format, pixels.data());
            return true;
        } catch (const wire::DecodeError&) {
            std::fill(pixels.begin(), pixels.end(), std::uint8_t{0});
            return false;
        }
    }
    const float* in_metres(const void* depth, const Piece& piece) {
        if (piece.depth_unit == 0) return static_cast<const float*>(depth);
        const auto* const units = static_cast<const std::uint16_t*>(depth);
        metres.resize(piece.format.pixels());
        std::transform(units, units + metres.size(), metres.begin(),
                       [&](std::uint16_t value) { return static_cast<float>(value * piece.depth_unit); });
        return metres.data();
    }
};

WantPool::WantPool(int threads, std::size_t kept_bytes, IsEngines is_engines)
    : thread_count_(threads), most_kept_bytes_(kept_bytes), is_engines_(std::move(is_engines)) {
    if (threads < 1)
        throw std::invalid_argument("the pool has " + std::to_string(threads) + " threads, expected at least 1");
    threads_.reserve(static_cast<std::size_t>(threads));
    kept_.reserve(most_kept);
}

// One thread does as well, more slowly, where the system gives no more.
void WantPool::start() {
    while (threads_.size() < static_cast<std::size_t>(thread_count_)) try {
            threads_.emplace_back([this, tools = std::make_unique<Tools>()] { work(*tools); });
        } catch (const std::exception&) {
            if (threads_.empty()) throw;
            return;
        }
}

// False if there is no memory for it.
bool WantPool::push(Task&& task) noexcept {
    if (!tasks_.enqueue(std::move(task))) return false;
    due_.signal();
    return true;
}

void WantPool::fulfil(Observation& observation, std::shared_ptr<const wire::WantRequest> want, const Reduction& reduction,
                      std::unique_ptr<Customer> customer) {
    std::call_once(started_, [this] { start(); });
    Task task;
    task.begin = std::make_shared<Order>(observation, std::move(want), reduction, std::move(customer));
    if (!push(std::move(task))) throw std::bad_alloc();
}

void WantPool::join() {
    ending_.store(true, std::memory_order_release);  // pairs with the load in work()
    due_.signal(static_cast<moodycamel::LightweightSemaphore::ssize_t>(threads_.size()));
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

std::size_t WantPool::kept_bytes() const {
    const std::lock_guard lock(mutex_);
    std::size_t bytes = 0;
    for (const Owner& kept : kept_)
        if (kept->ready) bytes += kept->capacity();
    return bytes;
}

// A thread that finds nothing to do when they are to end has used up one of the signals for that, whichever it took.
void WantPool::work(Tools& tools) {
    enter_background();
    for (;;) {
        due_.wait();
        Task task;
        // To one of several that take from it the queue may seem empty for a moment, though there is what the signal was for.
        while (!tasks_.try_dequeue(task))
            if (ending_.load(std::memory_order_acquire)) return;
        if (task.begin) begin(task.begin, tools);
        if (task.encode) encode(*task.encode, tools);
    }
}

void WantPool::begin(const std::shared_ptr<Order>& order, Tools& tools) {
    try {
        if (!order->customer->gone()) {
            const std::vector<Piece> pieces = plan(order->observation, *order->want, order->reduction, is_engines_);
            order->parts.reserve(pieces.size());
            for (const Piece& piece : pieces) order_piece(order, piece, tools);
        }
    } catch (const std::exception& error) {
        say(order->problem, {error.what()});
    }
    finish(order);
}

void WantPool::order_piece(const std::shared_ptr<Order>& order, const Piece& piece, Tools& tools) {
    const CameraInfo& camera = order->observation.cameras[piece.camera];
    const ByteBuffer& pixels = piece.depth ? camera.depth_data : camera.image;
    bool is_new = false;
    Task task;
    {
        const std::lock_guard lock(mutex_);
        Owner encoding = find_or_make({camera.name, piece.depth, piece.wish, piece.sequence, pixels.data()}, is_new);
        if (!encoding->ready) {
            encoding->waiting.push_back(order);  // for the first one there is room
            order->missing.fetch_add(1, std::memory_order_relaxed);
        }
        encoding->used = ++uses_;
        if (is_new) {
            encoding->piece = piece;
            encoding->stored_bytes = pixels.size();
            task.encode = encoding->share();
        }
        order->parts.push_back({piece.camera, piece.depth, std::move(encoding)});
    }
    if (is_new && !push(std::move(task))) encode(*order->parts.back().encoding, tools);
}

// With the mutex held. What is new is kept for others if it may be shared.
WantPool::Owner WantPool::find_or_make(Key&& key, bool& is_new) {
    if (key.sequence > 0)
        for (const Owner& kept : kept_)
            if (kept->key.same(key)) return kept->share();
    is_new = true;
    Owner made = take_place(key);
    made->waiting.reserve(2);
    made->key = std::move(key);
    made->ready = false;
    made->problem.clear();
    if (made->key.sequence > 0 && kept_.size() < most_kept) kept_.push_back(made->share());
    return made;
}

// With the mutex held: an encoding to be filled, in the place and memory of an older sample, or of what was used longest ago.
WantPool::Owner WantPool::take_place(const Key& key) {
    auto place = std::find_if(kept_.begin(), kept_.end(),
                              [&](const Owner& kept) { return key.sequence > 0 && kept->ready && key.replaces(kept->key); });
    if (place == kept_.end() && kept_.size() >= most_kept) {
        place = std::min_element(kept_.begin(), kept_.end(), [](const Owner& a, const Owner& b) {
            return std::pair(!a->ready, a->used) < std::pair(!b->ready, b->used);
        });
        if (!(*place)->ready) place = kept_.end();
    }
    if (place == kept_.end()) return Owner(new Encoding);
    Owner kept = std::move(*place);
    kept_.erase(place);
    return kept->shared() ? Owner(new Encoding) : std::move(kept);
}

void WantPool::encode(Encoding& encoding, Tools& tools) {
    std::string problem;
    std::vector<std::shared_ptr<Order>> waiting;
    {
        const std::lock_guard lock(mutex_);
        const auto gone = [](const std::shared_ptr<Order>& order) { return order->customer->gone(); };
        if (std::all_of(encoding.waiting.begin(), encoding.waiting.end(), gone)) {
            say(problem, {"the client has gone"});
            waiting = settle(encoding, problem);  // before the lock ends, or somebody might begin to wait
        }
    }
    if (waiting.empty()) {
        make(encoding, tools, problem);
        const std::lock_guard lock(mutex_);
        waiting = settle(encoding, problem);
    }
    for (const std::shared_ptr<Order>& order : waiting) finish(order);
}

void WantPool::make(Encoding& encoding, Tools& tools, std::string& problem) noexcept {
    const Piece& piece = encoding.piece;
    const auto* pixels = static_cast<const std::uint8_t*>(encoding.key.pixels);
    encoding.broken = false;
    try {
        if (piece.depth) {
            tools.encoder.depth(tools.in_metres(pixels, piece), piece.format.size, piece.wish, encoding.depth);
        } else {
            if (is_encoded(piece.stored)) {
                encoding.broken = !tools.decode(pixels, encoding.stored_bytes, piece);
                pixels = tools.pixels.data();
            }
            tools.encoder.image(pixels, piece.format, piece.wish, encoding.image);
        }
        made_.fetch_add(1, std::memory_order_relaxed);
    } catch (const std::exception& error) {
        say(problem, {"camera '", encoding.key.camera.c_str(), "' cannot be encoded: ", error.what()});
    }
}

// With the mutex held: it is ready, or will never be. Those who have waited for it.
std::vector<std::shared_ptr<WantPool::Order>> WantPool::settle(Encoding& encoding, std::string& problem) {
    encoding.ready = true;
    encoding.problem.swap(problem);
    // Whoever asks next is to try again.
    if (!encoding.problem.empty()) std::erase_if(kept_, [&](const Owner& kept) { return kept.get() == &encoding; });
    keep_within_bounds();
    return std::exchange(encoding.waiting, {});
}

// With the mutex held. What is being sent lives on with those who send it.
void WantPool::keep_within_bounds() {
    // What is too large by itself does not drive out the others.
    std::erase_if(kept_, [&](const Owner& kept) { return kept->ready && kept->capacity() > most_kept_bytes_; });
    std::size_t bytes = 0;
    for (const Owner& kept : kept_)
        if (kept->ready) bytes += kept->capacity();
    while (bytes > most_kept_bytes_) {
        const auto oldest = std::min_element(kept_.begin(), kept_.end(), [](const Owner& a, const Owner& b) {
            return std::pair(!a->ready, a->used) < std::pair(!b->ready, b->used);
        });
        bytes -= (*oldest)->capacity();
        kept_.erase(oldest);
    }
}

// Something is no longer missing. The last one puts the parts in their places, which gives back the pixels that they were
// made of.
void WantPool::finish(const std::shared_ptr<Order>& order) {
    // acq_rel: the last one comes after what the others have made, and after the order was read.
    if (order->missing.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    for (const Order::Part& part : order->parts) {
        CameraInfo& camera = order->observation.cameras[part.camera];
        Encoding& made = *part.encoding;
        if (!made.problem.empty()) {
            say(order->problem, {made.problem.c_str()});
        } else if (part.depth) {
            camera.depth_data.borrow(made.depth.bytes.data(), made.depth.bytes.size(), made);
            camera.depth_shape[0] = made.depth.size.height;
            camera.depth_shape[1] = made.depth.size.width;
            camera.depth_encoding = made.depth.encoding;
        } else {
            camera.image.borrow(made.image.bytes.data(), made.image.bytes.size(), made);
            camera.image_shape[0] = made.image.size.height;
            camera.image_shape[1] = made.image.size.width;
            camera.image_encoding = made.image.encoding;
            if (made.broken) camera.status = SourceStatus::never;  // as documented clients are told, too
        }
    }
    order->parts.clear();
    order->customer->made(std::move(order->problem));
}

}  // namespace chiral::imaging
