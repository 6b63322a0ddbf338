// SPDX-License-Identifier: Apache-2.0
#include "imaging/want_pool.hpp"

#include "imaging/plain.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>

#ifdef __linux__
#include <pthread.h>
#include <sys/resource.h>
#include <csignal>
#endif

namespace chiral::imaging {

/// What is made, and of what. Two are the same if their keys are, and the version is known.
struct WantPool::Key {
    std::string camera;
    bool depth{false};
    CameraWish wish;           // without what makes no difference to this piece
    std::uint64_t version{0};  // 0: pixels that are nobody else's
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

    Key key;

    // Of the thread that makes it, until it is ready.
    const std::uint8_t* source{nullptr};
    ImageFormat camera;
    EncodedImage image;
    EncodedDepth depth;

    // Guarded by the pool's mutex.
    bool ready{false};
    std::string problem;
    std::vector<std::shared_ptr<Order>> waiting;  // the first one owns the source
    std::uint64_t used{0};

private:
    std::atomic<std::uint32_t> references_{1};
};

void WantPool::Drop::operator()(Encoding* encoding) const noexcept { encoding->drop_ref(); }

/// An observation on its way.
struct WantPool::Order {
    Observation& observation;
    std::shared_ptr<const wire::WantRequest> want;
    Reduction reduction;
    Done done;

    struct Piece {
        std::size_t camera;
        bool depth;
        Owner encoding;
    };
    std::vector<Piece> pieces;
    std::atomic<std::size_t> missing{1};  // pieces, and one while the order is being read
    std::string problem;                  // guarded by the pool's mutex until nothing is missing
};

namespace {

// Behind what the robot's own threads have to do, and no signal's business.
void enter_background() noexcept {
#ifdef __linux__
    ::sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    ::pthread_setname_np(::pthread_self(), "chiral-encode");
    ::setpriority(PRIO_PROCESS, 0, 10);  // of this thread alone, on Linux; one that may not be nicer stays as it is
#endif
}

// The image as the pool understands it: eight-bit pixels that are as many as their shape says.
std::optional<ImageFormat> image_format_of(const CameraInfo& camera) {
    if (camera.image_shape.size() != 3 || !(camera.image_dtype.empty() || camera.image_dtype == "uint8"))
        return std::nullopt;
    if (std::any_of(camera.image_shape.begin(), camera.image_shape.end(), [](int side) { return side <= 0; }))
        return std::nullopt;
    const ImageFormat format{{camera.image_shape[0], camera.image_shape[1]}, camera.image_shape[2], ColourOrder::rgb};
    return is_encoded(camera.image_encoding) || format.bytes() == camera.image.size() ? std::optional(format) : std::nullopt;
}

std::optional<ImageSize> depth_size_of(const CameraInfo& camera) {
    if (!camera.has_depth || camera.depth_shape.size() != 2 ||
        !(camera.depth_dtype.empty() || camera.depth_dtype == "float32"))
        return std::nullopt;
    const ImageSize size{camera.depth_shape[0], camera.depth_shape[1]};
    if (size.height <= 0 || size.width <= 0) return std::nullopt;
    const std::size_t bytes = sizeof(float) * size.height * size.width;
    return bytes == camera.depth_data.size() ? std::optional(size) : std::nullopt;
}

CameraWish reduced(CameraWish wish, ImageSize camera, const Reduction& reduction) {
    wish.quality = std::min(wish.quality, reduction.quality);
    if (reduction.scale >= 1.0) return wish;
    if (wish.size == ImageSize{}) wish.size = camera;
    const auto less = [&](int side) { return std::max(1, static_cast<int>(std::lround(side * reduction.scale))); };
    wish.size = {less(wish.size.height), less(wish.size.width)};
    return wish;
}

CameraWish of_image(CameraWish wish) {
    wish.depth = DepthEncoding::none;
    if (wish.image != ImageEncoding::jpeg) wish.quality = 0;
    if (wish.image == ImageEncoding::png) wish.order = ColourOrder::rgb;
    return wish;
}

CameraWish of_depth(CameraWish wish) {
    wish.image = ImageEncoding::none;
    wish.quality = 0;
    wish.order = ColourOrder::rgb;
    return wish;
}

void drop_image(CameraInfo& camera) {
    camera.image.clear();
    camera.image_shape.clear();
    camera.image_encoding = ImageEncoding::none;
}

void drop_depth(CameraInfo& camera) {
    camera.has_depth = false;
    camera.depth_data.clear();
    camera.depth_shape.clear();
    camera.depth_encoding = DepthEncoding::none;
}

void drop_proprios(Observation& observation, const wire::WantRequest& request) {
    const auto& wanted = request.want.proprios;
    if (!wanted) return;
    std::erase_if(observation.proprios, [&](const ProprioInfo& proprio) {
        return std::find(wanted->begin(), wanted->end(), proprio.name) == wanted->end();
    });
}

// Nothing was published since: the client has the pixels, and is told whose they are.
void leave_out(CameraInfo& camera, const CameraWish& wish, ImageSize wanted) {
    camera.unchanged = true;
    camera.image.clear();
    camera.image_shape[0] = wanted.height;
    camera.image_shape[1] = wanted.width;
    camera.image_encoding = wish.image;
    if (!camera.has_depth) return;
    camera.depth_data.clear();
    camera.depth_shape = {wanted.height, wanted.width};
    camera.depth_encoding = wish.depth;
}

}  // namespace

WantPool::WantPool(int threads, std::size_t kept) : thread_count_(threads), kept_most_(kept) {
    if (threads < 1)
        throw std::invalid_argument("the pool has " + std::to_string(threads) + " threads, expected at least 1");
}

void WantPool::start() {
    for (int i = 0; i < thread_count_; ++i) threads_.emplace_back([this] { work(); });
}

void WantPool::fulfil(Observation& observation, std::shared_ptr<const wire::WantRequest> want, Reduction reduction,
                      Done done) {
    std::call_once(started_, [this] { start(); });
    Task task;
    task.begin = std::make_shared<Order>(observation, std::move(want), reduction, std::move(done));
    tasks_.enqueue(std::move(task));
}

void WantPool::end_one() {
    Task last;
    last.last = true;
    tasks_.enqueue(std::move(last));
}

void WantPool::join() {
    for (std::size_t i = 0; i < threads_.size(); ++i) end_one();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

void WantPool::work() {
    enter_background();
    ImageEncoder encoder;
    ImageDecoder decoder;
    int ends = 0;
    for (;;) {
        Task task;
        if (ends == 0) tasks_.wait_dequeue(task);
        else if (!tasks_.try_dequeue(task)) break;  // what was begun before is made
        if (task.begin) begin(task.begin, decoder);
        if (task.encode) encode(*task.encode, encoder);
        ends += task.last;
    }
    for (; ends > 1; --ends) end_one();  // which this thread has taken from others
}

void WantPool::begin(const std::shared_ptr<Order>& order, ImageDecoder& decoder) {
    try {
        drop_proprios(order->observation, *order->want);
        for (std::size_t i = 0; i < order->observation.cameras.size(); ++i) order_camera(order, i, decoder);
    } catch (const std::exception& error) {
        const std::lock_guard lock(mutex_);
        order->problem = error.what();
    }
    finish(order);
}

void WantPool::order_camera(const std::shared_ptr<Order>& order, std::size_t index, ImageDecoder& decoder) {
    CameraInfo& camera = order->observation.cameras[index];
    const auto image = image_format_of(camera);
    if (!image) return;  // no picture that could be made another: sent as it is, or refused with its reason
    const auto depth = depth_size_of(camera);
    const wire::WantRequest& request = *order->want;
    const CameraWish wish = reduced(request.want.of(camera.name), image->size, order->reduction);
    const Placement placement = place(image->size, wish.size, wish.fit);
    // What the camera has encoded itself goes on as it is to who wants it so. Else it is pixels first.
    const bool passes = wish.image == camera.image_encoding && placement.size == image->size && camera.image.size() > 0;
    if (is_encoded(camera.image_encoding) && !passes && wish.image != ImageEncoding::none)
        if (const std::string problem = make_plain(camera, decoder); !problem.empty())
            throw std::runtime_error("camera '" + camera.name + "': its encoded image cannot be shown: " + problem);
    const bool own = camera.image.borrowed();  // from the engine, of which the version counts
    camera.intrinsics = placed_intrinsics(camera.intrinsics, placement);
    if (image->channels == 3) camera.image_order = wish.order;
    if (wish.image == ImageEncoding::none) drop_image(camera);
    if (wish.depth == DepthEncoding::none) drop_depth(camera);
    const auto had = request.have.find(camera.name);
    if (request.want.only_if_newer && own && camera.version > 0 && had != request.have.end() &&
        had->second == camera.version && wish.image != ImageEncoding::none)
        return leave_out(camera, wish, placement.size);
    const std::uint64_t version = own ? camera.version : 0;
    if (wish.image != ImageEncoding::none && !is_encoded(camera.image_encoding) && !is_as_wished(*image, wish))
        order_piece(order, index, false, {camera.name, false, of_image(wish), version});
    if (depth && wish.depth != DepthEncoding::none && !depth_is_as_wished(*depth, wish))
        order_piece(order, index, true,
                    {camera.name, true, of_depth(wish), camera.depth_data.borrowed() ? camera.version : 0});
}

void WantPool::order_piece(const std::shared_ptr<Order>& order, std::size_t index, bool depth, Key key) {
    const CameraInfo& camera = order->observation.cameras[index];
    order->pieces.reserve(2 * order->observation.cameras.size());
    bool is_new = false;
    Owner task;
    {
        const std::lock_guard lock(mutex_);
        Owner encoding = find_or_make(std::move(key), is_new);
        encoding->used = ++uses_;
        if (!encoding->ready) {
            encoding->waiting.push_back(order);
            order->missing.fetch_add(1, std::memory_order_relaxed);
        }
        if (is_new) {
            encoding->source = depth ? camera.depth_data.data() : camera.image.data();
            const std::vector<int>& shape = depth ? camera.depth_shape : camera.image_shape;
            encoding->camera = {{shape[0], shape[1]}, depth ? 1 : shape[2], ColourOrder::rgb};
            task = encoding->share();
        }
        order->pieces.push_back({index, depth, std::move(encoding)});
    }
    if (!is_new) return;
    Task made;
    made.encode = std::move(task);
    tasks_.enqueue(std::move(made));
}

// With the mutex held. What is new has no source yet, and is kept if it may be shared.
WantPool::Owner WantPool::find_or_make(Key&& key, bool& is_new) {
    const auto alike = [&](const Owner& kept) {
        return kept->key.camera == key.camera && kept->key.depth == key.depth && kept->key.wish == key.wish;
    };
    if (key.version > 0)
        for (const Owner& kept : kept_)
            if (alike(kept) && kept->key.version == key.version) return kept->share();
    is_new = true;
    // In the place and memory of an older version, or of what was used longest ago.
    auto place = std::find_if(kept_.begin(), kept_.end(), [&](const Owner& kept) {
        return key.version > 0 && kept->ready && alike(kept) && kept->key.version < key.version;
    });
    if (place == kept_.end() && kept_.size() >= kept_most_) {
        place = std::min_element(kept_.begin(), kept_.end(), [](const Owner& a, const Owner& b) {
            return std::pair(!a->ready, a->used) < std::pair(!b->ready, b->used);
        });
        if (place != kept_.end() && !(*place)->ready) place = kept_.end();
    }
    Owner made;
    if (place != kept_.end() && !(*place)->shared()) made = std::move(*place);
    else made.reset(new Encoding);
    if (place != kept_.end()) kept_.erase(place);
    made->key = std::move(key);
    made->ready = false;
    made->problem.clear();
    if (made->key.version > 0 && kept_.size() < kept_most_) kept_.push_back(made->share());
    return made;
}

void WantPool::encode(Encoding& encoding, ImageEncoder& encoder) {
    std::string problem;
    try {
        if (encoding.key.depth)
            encoder.depth(reinterpret_cast<const float*>(encoding.source), encoding.camera.size, encoding.key.wish,
                          encoding.depth);
        else encoder.image(encoding.source, encoding.camera, encoding.key.wish, encoding.image);
    } catch (const std::exception& error) {
        problem = "camera '" + encoding.key.camera + "' cannot be encoded: " + error.what();
    }
    made_.fetch_add(1, std::memory_order_relaxed);
    std::vector<std::shared_ptr<Order>> waiting;
    {
        const std::lock_guard lock(mutex_);
        encoding.ready = true;
        encoding.problem = problem;
        waiting.swap(encoding.waiting);
        // Whoever asks next is to try again.
        if (!problem.empty()) std::erase_if(kept_, [&](const Owner& kept) { return kept.get() == &encoding; });
    }
    for (const std::shared_ptr<Order>& order : waiting) finish(order);
}

// Something is no longer missing. The last one puts the pieces in their places, which gives back the pixels that they were
// made of.
void WantPool::finish(const std::shared_ptr<Order>& order) {
    if (order->missing.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    for (Order::Piece& piece : order->pieces) {
        CameraInfo& camera = order->observation.cameras[piece.camera];
        Encoding& made = *piece.encoding;
        if (!made.problem.empty()) {
            order->problem = made.problem;
        } else if (piece.depth) {
            camera.depth_data.borrow(made.depth.bytes.data(), made.depth.bytes.size(), made);
            camera.depth_shape.assign({made.depth.size.height, made.depth.size.width});
            camera.depth_encoding = made.depth.encoding;
        } else {
            camera.image.borrow(made.image.bytes.data(), made.image.bytes.size(), made);
            camera.image_shape[0] = made.image.size.height;
            camera.image_shape[1] = made.image.size.width;
            camera.image_encoding = made.image.encoding;
        }
    }
    order->pieces.clear();
    order->done(order->problem);
}

}  // namespace chiral::imaging
