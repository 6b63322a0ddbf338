// SPDX-License-Identifier: Apache-2.0
// Serving observations and taking actions allocates nothing in the steady state, and copies no pixel in user space.
//
// The whole process is the server, all of its threads are counted: the client is a child process that speaks in raw bytes.
// malloc and its relatives are replaced for the program and the libraries that it uses; memcpy and memmove are counted where
// this program or a static library calls them.
#include "support.hpp"

#include <sys/wait.h>

#include <atomic>
#include <cstdlib>

namespace {
std::atomic<bool> counting{false};
std::atomic<std::size_t> allocations{0}, copied_bytes{0};

void count_allocation() noexcept {
    if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

extern "C" {
void* __libc_malloc(std::size_t) noexcept;
void* __libc_calloc(std::size_t, std::size_t) noexcept;
void* __libc_realloc(void*, std::size_t) noexcept;
void* __libc_memalign(std::size_t, std::size_t) noexcept;
void* malloc(std::size_t size) noexcept {
    count_allocation();
    return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
    count_allocation();
    return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) noexcept {
    count_allocation();
    return __libc_realloc(old, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
    count_allocation();
    return __libc_memalign(alignment, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
    count_allocation();
    return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
    count_allocation();
    *memory = __libc_memalign(alignment, size);
    return *memory != nullptr ? 0 : ENOMEM;
}

// -Wl,--wrap=memcpy,--wrap=memmove
void* __real_memcpy(void*, const void*, std::size_t) noexcept;
void* __real_memmove(void*, const void*, std::size_t) noexcept;
void* __wrap_memcpy(void* to, const void* from, std::size_t size) noexcept {
    if (counting.load(std::memory_order_relaxed)) copied_bytes.fetch_add(size, std::memory_order_relaxed);
    return __real_memcpy(to, from, size);
}
void* __wrap_memmove(void* to, const void* from, std::size_t size) noexcept {
    if (counting.load(std::memory_order_relaxed)) copied_bytes.fetch_add(size, std::memory_order_relaxed);
    return __real_memmove(to, from, size);
}
}

namespace chiral::test {
namespace {

using wire::RequestType;

constexpr int kHeight = 240, kWidth = 320;
constexpr std::size_t kPixelBytes = 2 * kHeight * kWidth * (3 + 4);

std::vector<CameraConfig> cameras() {
    return {camera("left", kHeight, kWidth, 3, true), camera("right", kHeight, kWidth, 3, true)};
}

// One process tells another that it may go on.
class Signal {
public:
    Signal() {
        if (::pipe(ends_) != 0) std::abort();
    }
    ~Signal() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    void give(std::uint8_t value = 1) {
        if (::write(ends_[1], &value, 1) != 1) std::abort();
    }
    /// False if the other process has said nothing in time.
    [[nodiscard]] bool take() {
        pollfd entry{ends_[0], POLLIN, 0};
        std::uint8_t value = 0;
        return ::poll(&entry, 1, static_cast<int>(std::chrono::milliseconds(kDeadline).count())) == 1 &&
               ::read(ends_[0], &value, 1) == 1;
    }

private:
    int ends_[2];
};

struct Counted {
    std::size_t allocations, copied_bytes;
};

// Serves `rounds` turns of the client in a child process, and counts what the server does meanwhile.
template <class Server>
Counted count_in(Server& server, const std::function<void(RawClient&)>& turn, int rounds) {
    Signal served, warm, go, done;
    int port[2];
    EXPECT_EQ(::pipe(port), 0);
    const pid_t child = ::fork();  // before the server has threads
    if (child == 0) {
        int number = 0;
        if (::read(port[0], &number, sizeof number) != sizeof number) ::_exit(1);
        try {
            RawClient client = RawClient::connected(number);
            for (int i = 0; i < 50; ++i) turn(client);
            warm.give();
            if (!go.take()) ::_exit(2);
            for (int i = 0; i < rounds; ++i) turn(client);
            done.give();
            if (!go.take()) ::_exit(3);
            client.close();
        } catch (const std::exception& error) {
            std::fprintf(stderr, "client: %s\n", error.what());
            ::_exit(4);
        }
        ::_exit(0);
    }
    server.serve();
    const int number = server.port();
    EXPECT_EQ(::write(port[1], &number, sizeof number), static_cast<ssize_t>(sizeof number));
    EXPECT_TRUE(warm.take());
    allocations = 0;
    copied_bytes = 0;
    counting = true;
    go.give();
    const bool finished = done.take();
    counting = false;
    EXPECT_TRUE(finished);
    const Counted counted{allocations, copied_bytes};
    go.give();
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    server.stop();
    server.wait();
    ::close(port[0]);
    ::close(port[1]);
    return counted;
}

constexpr std::size_t kQueuedActions = 8;

ServerOptions silent() {
    ServerOptions options;
    options.max_queued_actions = kQueuedActions;  // every burst fills the queue, so that the connection is held back as well
    // The actions of a second or so are more than a client may send in one; a pause in the middle of what is counted would
    // be the first, whose timer takes memory for good.
    options.max_messages_per_second = 1'000'000;
    options.log = [](const std::string&) {};
    options.quiesce = Duration::zero();
    return options;
}

// Forwards what the library does by default; the control copies the observation, pixels and all.
class Plain : public OpenServer {
public:
    explicit Plain(bool copies) : OpenServer(cameras(), {{"q", 7}}, "127.0.0.1", 0, silent()), copies_(copies) {}
    Observation get_obs() override {
        Observation obs = make_obs(1.0);
        if (!copies_) return obs;
        Observation copy = obs;
        return copy;
    }
    std::pair<Observation, InfoMap> reset() override { return {make_obs(), {}}; }
    void apply_action(const Action&) override {}

private:
    const bool copies_;
};

const auto ask_for_observation = [](RawClient& client) {
    static const ByteVector question = websocket_frame(RawClient::kBinary, request(RequestType::obs_request));
    client.send_bytes(question);
    if (client.receive().payload.size() < kPixelBytes) throw std::runtime_error("no observation came");
};

TEST(Allocation, TheCountersCount) {
    counting = true;
    allocations = 0;
    copied_bytes = 0;
    {
        const std::vector<std::uint8_t> a(100'000, 1), b = a;
        EXPECT_EQ(b[5], 1);
    }
    counting = false;
    EXPECT_GE(allocations, 2u);
    EXPECT_GE(copied_bytes, 100'000u);
}

TEST(Allocation, AnObservationRoundTripAllocatesNothingAndCopiesNoPixel) {
    constexpr int kRounds = 300;
    Plain server(false), control(true);
    const Counted counted = count_in(server, ask_for_observation, kRounds);
    EXPECT_EQ(counted.allocations, 0u);
    EXPECT_LT(counted.copied_bytes, kRounds * kPixelBytes / 20);
    EXPECT_EQ(server.stats().copied_observations, 0u);

    const Counted copying = count_in(control, ask_for_observation, kRounds);
    EXPECT_GE(copying.allocations, std::size_t{kRounds});
    EXPECT_GE(copying.copied_bytes, kRounds * kPixelBytes);
    RecordProperty("allocations", static_cast<int>(counted.allocations));
    RecordProperty("bytes_copied_per_observation", static_cast<int>(counted.copied_bytes / kRounds));
}

// Starts to publish at its first observation, because a process that forks has no threads yet.
class Sensing : public Plain {
public:
    Sensing() : Plain(false) {}
    ~Sensing() override {
        ended_ = true;
        if (sensor_.joinable()) sensor_.join();
    }
    Observation get_obs() override {
        if (!sensor_.joinable())
            sensor_ = std::thread([this] {
                const std::vector<std::uint8_t> image(kHeight * kWidth * 3, 7);
                while (!ended_) {
                    update_image(0, image.data(), image.size());
                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                }
            });
        return Plain::get_obs();
    }

private:
    std::atomic<bool> ended_{false};
    std::thread sensor_;
};

TEST(Allocation, SensorsThatPublishMeanwhileChangeNothingAboutIt) {
    Sensing server;
    EXPECT_EQ(count_in(server, ask_for_observation, 300).allocations, 0u);
    EXPECT_EQ(server.stats().copied_observations, 0u);
}

TEST(Allocation, ActionsAllocateNothing) {
    Plain server(false);
    const auto turn = [](RawClient& client) {
        static const ByteVector action = [] {
            Action many = numbered_action(1, 14);
            many.obs_timestamps = {{"left", 1.5}, {"right", 2.5}};
            return websocket_frame(RawClient::kBinary, action_message(many));
        }();
        for (int i = 0; i < 40; ++i) client.send_bytes(action);
        ask_for_observation(client);
    };
    // An action has memory for its values and two times. It is used again, so that there is as much of it as the queue has ever
    // been deep; which may first happen while we count.
    EXPECT_LE(count_in(server, turn, 200).allocations, 3 * (kQueuedActions + 1));
    EXPECT_EQ(server.stats().actions_applied, 250u * 40);
}

}  // namespace
}  // namespace chiral::test
