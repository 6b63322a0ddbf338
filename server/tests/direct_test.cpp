// SPDX-License-Identifier: Apache-2.0
// Clients that look at the newest images by themselves, in a page that they write to: what they see, and that what else they write
// there harms nobody.
#include "client/direct.hpp"
#include "client/frame_bell.hpp"
#include "client/image_pace.hpp"
#include "local_processes.hpp"
#include "local_robot.hpp"
#include "net/direct_protocol.hpp"

#include <atomic>
#include <limits>
#include <optional>
#include <random>
#include <thread>

#ifdef __SANITIZE_THREAD__
// Clients here are forked by a program that has threads, and have threads of their own.
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }
#endif

namespace chiral::test {
namespace {

void two_may_read_directly(ServerOptions& options) {
    options.access.local.direct_readers = 2;
    options.access.local.max_observers = 2;
    options.max_observers = 0;  // at the WebSocket: there are 14 readers in all
}

void expect_image(const CameraInfo& camera, std::uint8_t value) {
    ASSERT_EQ(camera.image.size(), kPixels);
    const std::uint8_t* first = std::as_const(camera.image).data();
    EXPECT_TRUE(std::all_of(first, first + kPixels, [=](std::uint8_t p) { return p == value; }));
    float depth = 0;
    ASSERT_EQ(camera.depth_data.size(), kPixels / 3 * sizeof depth);
    std::memcpy(&depth, std::as_const(camera.depth_data).data(), sizeof depth);
    EXPECT_EQ(depth, value);
}

/// A client that is given a page, and does with it what the test wants.
class RawDirect : public RawLocal {
public:
    explicit RawDirect(const OwnFolder& folder, const char* wants = "observe") : RawLocal(folder) {
        say(net::PacketKind::hello, "version=" + std::to_string(net::kLocalVersion) + "\nwants=" + wants + "\ndirect=1\n");
        expect(net::PacketKind::welcome);
        welcome = net::Welcome::parse(packet().text());
        memory = take_descriptor();
        if (!welcome.direct) throw std::runtime_error("no page for direct reading");
        expect(net::PacketKind::direct);
        layout = net::read_direct_layout(packet().body(), welcome.bytes);
        page = take_descriptor();
    }
    ~RawDirect() {
        if (words != nullptr) munmap(words, static_cast<std::size_t>(layout.page_bytes));
    }
    void map() {
        void* mapped =
            mmap(nullptr, static_cast<std::size_t>(layout.page_bytes), PROT_READ | PROT_WRITE, MAP_SHARED, page.get(), 0);
        if (mapped == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
        words = static_cast<std::atomic<std::uint64_t>*>(mapped);
    }
    /// The number of the occupant, once the server has sealed the page.
    std::uint64_t sit_down() {
        say(net::PacketKind::direct, "");
        expect(net::PacketKind::direct);
        return net::read_occupant(packet().body()).value();
    }
    std::size_t count() const { return static_cast<std::size_t>(layout.page_bytes) / sizeof *words; }

    net::Welcome welcome;
    net::DirectLayout layout;
    net::Descriptor page;
    std::atomic<std::uint64_t>* words{nullptr};

private:
    void expect(net::PacketKind kind) {
        if (!next() || packet().kind() != kind) throw std::runtime_error("something else came");
    }
};

TEST(DirectReading, ShowsWhatIsNewestAndWhatIsHeldStaysAsItIs) {
    LocalRobot robot(two_may_read_directly);
    const auto client = robot.connect();
    ASSERT_TRUE(client->reads_directly());
    CameraInfo held, camera;
    client->get_camera("wrist", camera);
    EXPECT_EQ(camera.status, SourceStatus::never);
    robot.publish(1);
    client->get_camera("wrist", held);
    EXPECT_EQ(held.sequence, 1u);
    EXPECT_EQ(held.image_shape, (std::vector<int>{kHeight, kWidth, 3}));
    EXPECT_EQ(held.depth_shape, (std::vector<int>{kHeight, kWidth}));
    EXPECT_EQ(held.status, SourceStatus::fresh);
    for (std::uint8_t value = 2; value < 60; ++value) {
        robot.publish(value);
        client->get_camera("wrist", camera);
        expect_image(camera, value);
        EXPECT_EQ(camera.sequence, value);
    }
    expect_image(held, 1);
    // Beside observations, which show the same.
    const Observation obs = client->get_obs();
    const CameraInfo& asked = obs["wrist"];
    expect_image(asked, 59);
    EXPECT_EQ(asked.sequence, camera.sequence);
    EXPECT_EQ(asked.timestamp, camera.timestamp);
    EXPECT_EQ(asked.intrinsics, camera.intrinsics);
    EXPECT_EQ(asked.extrinsics, camera.extrinsics);
    EXPECT_EQ(asked.image_dtype, camera.image_dtype);
    EXPECT_EQ(asked.depth_unit, camera.depth_unit);
    EXPECT_EQ(robot.server.stats().copied_observations, 0u);
}

TEST(DirectReading, ThirdImageOfACameraIsRefusedUntilOneIsGivenBack) {
    LocalRobot robot(two_may_read_directly);
    robot.publish(1);
    const auto client = robot.connect();
    CameraInfo one, two, three;
    client->get_camera("wrist", one);
    client->get_camera("wrist", two);
    EXPECT_THROW(client->get_camera("wrist", three), LoanError);
    two = {};
    robot.publish(2);
    client->get_camera("wrist", three);
    expect_image(one, 1);
    expect_image(three, 2);
    EXPECT_THROW(client->get_camera("nose", two), std::out_of_range);
}

TEST(DirectReading, JudgesACameraWhoseClockIsAheadAsTheServerDoes) {
    LocalRobot robot([](ServerOptions& options) {
        two_may_read_directly(options);
        options.engine.capture_ahead_tolerance = std::chrono::hours(1);
        options.engine.camera_stale_after = std::chrono::hours(24);
    });
    const auto client = robot.connect();
    ASSERT_TRUE(client->reads_directly());
    const std::vector<std::uint8_t> pixels(kPixels, 1);
    for (const auto& [ahead, expected] : {std::pair(std::chrono::minutes(30), SourceStatus::fresh),
                                          std::pair(std::chrono::minutes(90), SourceStatus::ahead)}) {
        ASSERT_TRUE(robot.server.update_image(0, pixels.data(), pixels.size(), Clock::now() + ahead).ok());
        CameraInfo camera;
        client->get_camera("wrist", camera);
        EXPECT_EQ(camera.status, expected);
        EXPECT_EQ(client->get_obs()["wrist"].status, expected);
    }
    // So long ago that the time since does not fit.
    ASSERT_TRUE(robot.server.update_image(0, pixels.data(), pixels.size(), TimePoint::min()).ok());
    CameraInfo camera;
    client->get_camera("wrist", camera);
    EXPECT_EQ(camera.status, SourceStatus::stale);
    EXPECT_EQ(client->get_obs()["wrist"].status, SourceStatus::stale);
}

TEST(DirectReading, BeginsThoughTheQueueOfActionsIsFull) {
    Gate gate;
    LocalRobot robot([](ServerOptions& options) {
        two_may_read_directly(options);
        options.allow_takeover = true;
        options.max_queued_actions = 1;
    });
    robot.server.on_action = [&](const Action&) { gate.pass(); };
    const OpensAtEnd opener(gate);
    PolicyClient before(robot.uri());
    before.connect();
    before.apply_action(numbered_action(1));
    ASSERT_TRUE(gate.reached());
    RawDirect taker(robot.folder, "takeover");
    taker.map();
    EXPECT_GT(taker.sit_down(), 0u);
}

TEST(DirectReading, IsAskingWhereNoSeatIsLeft) {
    LocalRobot robot([](ServerOptions& options) {
        options.access.local.direct_readers = 1;
        options.access.local.max_observers = 1;
    });
    robot.publish(1);
    const auto first = robot.connect();
    PolicyClient second(robot.uri("?observe=1"));
    second.connect();
    EXPECT_TRUE(first->reads_directly());
    EXPECT_FALSE(second.reads_directly());
    CameraInfo camera;
    second.get_camera("wrist", camera);
    expect_image(camera, 1);
    EXPECT_THROW(second.get_camera("nose", camera), std::out_of_range);
    // Who goes leaves its seat.
    first->close();
    EXPECT_TRUE(eventually([&] {
        second.close();
        second.connect();
        return second.reads_directly();
    }));
}

TEST(DirectReading, IsNotOfferedUnlessItIsAskedForOnBothSides) {
    LocalRobot robot(two_may_read_directly);
    RawLocal of_old(robot.folder);
    EXPECT_FALSE(of_old.hello().direct);
    LocalRobot without;
    without.publish(1);
    const auto client = without.connect();
    EXPECT_FALSE(client->reads_directly());
    CameraInfo camera;
    client->get_camera("wrist", camera);
    expect_image(camera, 1);
}

void expect_waiting_ends_with_the_next_image(Duration busy_poll) {
    LocalRobot robot(two_may_read_directly);
    robot.publish(1);
    ClientOptions options;
    options.busy_poll = busy_poll;
    const auto client = std::make_unique<PolicyClient>(robot.uri(), options);
    client->connect();
    ASSERT_TRUE(client->reads_directly());
    CameraInfo camera;
    EXPECT_EQ(client->wait_frame("wrist", 0, kDeadline), 1u) << "what is there already is not waited for";
    for (std::uint8_t value = 2; value < 60; ++value) {
        // The same wish as that of the next call, which finds its answer whenever it comes.
        EXPECT_EQ(client->wait_frame("wrist", value - 1u, Duration::zero()), 0u);
        std::thread sensor([&] { robot.publish(value); });
        EXPECT_EQ(client->wait_frame("wrist", value - 1u, kDeadline), value);
        sensor.join();
        client->get_camera("wrist", camera);
        expect_image(camera, value);
        EXPECT_THROW(client->wait_frame("nose", 0, kDeadline), std::out_of_range);
    }
    EXPECT_EQ(client->wait_frame("wrist", 59, std::chrono::milliseconds(5)), 0u) << "there is no 60th";
    std::thread ending([&] { robot.server.stop(); });
    EXPECT_THROW(client->wait_frame("wrist", 59, kDeadline), ConnectionError);
    ending.join();
}

TEST(DirectReading, WaitingForAFrameEndsWithTheNextImage) { expect_waiting_ends_with_the_next_image(Duration::zero()); }

TEST(DirectReading, WaitingForAFrameEndsWithTheNextImageForWhoeverPolls) {
    expect_waiting_ends_with_the_next_image(std::chrono::seconds(1));
}

TEST(DirectReading, AnImageIsToldOfHoweverShortTheTimeout) {
    for (const std::size_t readers : {0, 2}) {
        LocalRobot robot([&](ServerOptions& options) {
            if (readers > 0) two_may_read_directly(options);
        });
        const auto client = robot.connect();
        ASSERT_EQ(client->reads_directly(), readers > 0);
        for (std::uint8_t value = 1; value < 50; ++value) {
            robot.publish(value);
            if (client->wait_frame("wrist", value - 1u, Duration::zero()) == value) continue;
            client->get_obs();  // answered after the wish
            ASSERT_EQ(client->wait_frame("wrist", value - 1u, Duration::zero()), value);
        }
    }
}

/// A seat of whoever the server does not hear: what it wishes goes nowhere, and nobody wakes it.
struct UnheardSeat {
    explicit UnheardSeat(const LocalRobot& robot) : client(robot.folder) {
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        lender = std::make_shared<client::Lender>(ends[0], client.memory, client.welcome);
        seat = std::make_shared<client::DirectSeat>(lender, client.layout, client.page);
        client.map();  // while it may
        seat->admitted(client.sit_down());
    }
    ~UnheardSeat() {
        lender->end();
        for (const int end : ends) ::close(end);
    }

    RawDirect client;
    int ends[2]{-1, -1};
    std::shared_ptr<client::Lender> lender;
    std::shared_ptr<client::DirectSeat> seat;
};

TEST(DirectReading, WhoeverPollsSeesTheNextImageWithoutBeingTold) {
    LocalRobot robot(two_may_read_directly);
    UnheardSeat unheard(robot);
    client::FrameBell polling(std::chrono::seconds(1)), sleeping(Duration::zero());
    EXPECT_EQ(polling.wait(*unheard.lender, unheard.seat.get(), "wrist", 0, Clock::now()), 0u);
    for (std::uint8_t value = 1; value < 20; ++value) {
        robot.publish(value);
        EXPECT_EQ(unheard.seat->coming("wrist").newest, value);
        // Once two have been seen, it is known when the next one is due.
        if (value == 1) continue;
        const auto next = static_cast<std::uint8_t>(value + 1);
        std::thread sensor([&] { robot.publish(next); });
        EXPECT_EQ(polling.wait(*unheard.lender, unheard.seat.get(), "wrist", value, Clock::now() + kDeadline), next);
        sensor.join();
        value = next;
    }
    EXPECT_EQ(sleeping.wait(*unheard.lender, unheard.seat.get(), "wrist", 0, Clock::now() + std::chrono::milliseconds(5)),
              0u)
        << "who does not poll would have to be told";
    EXPECT_EQ(unheard.seat->coming("nose").newest, 0u);
}

TEST(DirectReading, WhoeverWaitsInSlicesWishesOnce) {
    LocalRobot robot(two_may_read_directly);
    UnheardSeat unheard(robot);
    const net::PageBell page(reinterpret_cast<std::byte*>(unheard.client.words) + unheard.client.layout.bell);
    const auto wishes = [&] {
        int count = 0;
        for (char byte = 0; ::recv(unheard.ends[1], &byte, 1, MSG_DONTWAIT) > 0;) ++count;
        return count;
    };
    for (client::DirectSeat* const seat : {unheard.seat.get(), static_cast<client::DirectSeat*>(nullptr)}) {
        client::FrameBell bell(Duration::zero());
        const auto wait = [&](std::uint64_t after, const char* camera = "wrist",
                              Duration timeout = std::chrono::milliseconds(1)) {
            return bell.wait(*unheard.lender, seat, camera, after, Clock::now() + timeout);
        };
        const auto answer = [&](std::uint64_t newest, std::uint64_t number) {
            seat != nullptr ? page.ring({newest, number}) : bell.ring({newest, number});
        };
        const auto answer_once_wished = [&](std::uint64_t newest, std::uint64_t number) {
            EXPECT_TRUE(eventually([&] { return wishes() > 0; }));
            answer(newest, number);
        };
        for (int slice = 0; slice < 3; ++slice) EXPECT_EQ(wait(7), 0u);
        EXPECT_EQ(wishes(), 1);
        answer(9, 1);
        EXPECT_EQ(wait(7), 9u) << "which came between two calls";
        EXPECT_EQ(wishes(), 1) << "by now there may be a newer one";
        EXPECT_EQ(wait(7), 0u) << "that was told of";
        EXPECT_EQ(wishes(), 0) << "and what was wished then stands";
        answer(9, 2);
        std::thread server([&] { answer_once_wished(10, 3); });
        EXPECT_EQ(wait(7, "wrist", kDeadline), 10u) << "the newest, where there is time for it";
        server.join();
        EXPECT_EQ(wait(8), 0u);
        EXPECT_EQ(wishes(), 1) << "this is another wish";
        EXPECT_EQ(wait(8, "palm"), 0u);
        EXPECT_EQ(wishes(), 1) << "and so is that of another camera";
        answer(9, 4);
        EXPECT_EQ(wait(8, "palm"), 0u) << "which an answer to the one before is not for";
        EXPECT_EQ(wishes(), 0);
        answer(net::kNoSuchCamera, 5);
        EXPECT_THROW(wait(8, "palm"), std::out_of_range);
        EXPECT_EQ(wishes(), 0);
    }
}

TEST(DirectReading, TheNextImageIsDueAtTheIntervalOfThoseThatWereSeen) {
    using std::chrono::milliseconds;
    client::ImagePace pace;
    TimePoint published(std::chrono::seconds(1));
    std::uint64_t number = 0;
    // How long after the newest the next is due.
    const auto due_after = [&](Duration interval, std::uint64_t images = 1) -> Duration {
        published += interval;
        pace.note(number += images, published);
        return pace.due().value_or(published) - published;
    };
    EXPECT_FALSE(pace.due());
    EXPECT_EQ(due_after(milliseconds(40)), Duration::zero()) << "one is no interval";
    EXPECT_EQ(due_after(milliseconds(40)), milliseconds(40));
    EXPECT_EQ(due_after(milliseconds(48)), milliseconds(41)) << "one that is late moves it by an eighth";
    EXPECT_EQ(due_after(milliseconds(82), 2), milliseconds(41)) << "one that was not seen counts";
    EXPECT_EQ(due_after(milliseconds(5), 0), milliseconds(36)) << "the same one, said to be younger, does not";
    EXPECT_EQ(due_after(std::chrono::minutes(2)), Duration::zero()) << "after a pause nobody knows";
    EXPECT_EQ(due_after(milliseconds(10)), milliseconds(10));
    EXPECT_EQ(due_after(-milliseconds(10)), Duration::zero());
    for (const TimePoint lie : {TimePoint::min(), TimePoint::max(), TimePoint::min(), TimePoint::max()}) {
        pace.note(++number, lie);
        EXPECT_FALSE(pace.due());
    }
    pace.note(number + 1, TimePoint::max());
    pace.note(std::numeric_limits<std::uint64_t>::max(), TimePoint::max());
    EXPECT_FALSE(pace.due());
}

TEST(DirectPage, HasTheAnswerToAWishAndNothingComesBesideIt) {
    LocalRobot robot(two_may_read_directly);
    robot.publish(1);
    RawDirect client(robot.folder);
    client.map();
    ASSERT_GT(client.sit_down(), 0u);
    std::atomic<std::uint64_t>* const bell = client.words + client.layout.bell / sizeof *client.words;
    const auto wish = [&](std::string_view camera, std::uint64_t after, std::uint64_t number) {
        const std::vector<std::uint8_t> body = net::bell_wish({camera, after, number});
        client.say(net::PacketKind::bell, std::string_view(reinterpret_cast<const char*>(body.data()), body.size()));
    };
    wish("wrist", 0, 7);
    ASSERT_TRUE(eventually([&] { return bell[0] == 7; }));
    EXPECT_EQ(bell[1], 1u);
    wish("nose", 0, 8);
    ASSERT_TRUE(eventually([&] { return bell[0] == 8; }));
    EXPECT_EQ(bell[1], net::kNoSuchCamera);
    wish("wrist", 1, 9);  // what a client writes there is its own loss
    bell[0] = ~std::uint64_t{0};
    bell[1] = ~std::uint64_t{0};
    robot.publish(2);
    ASSERT_TRUE(eventually([&] { return static_cast<std::uint32_t>(bell[0]) == 9; }));
    EXPECT_EQ(bell[1], 2u);
    client.ask(wire::RequestType::obs_request);
    ASSERT_TRUE(client.next());
    EXPECT_EQ(client.packet().kind(), net::PacketKind::message);
}

TEST(DirectPage, IsSealedBeforeTheServerLooksAtIt) {
    LocalRobot robot(two_may_read_directly);
    robot.publish(1);
    RawDirect client(robot.folder);
    const auto bytes = static_cast<std::size_t>(client.layout.page_bytes);
    client.map();
    // Until then a client may write, but never change the size, which would end whoever touches what is gone.
    EXPECT_NE(ftruncate(client.page.get(), 0), 0);
    EXPECT_NE(ftruncate(client.page.get(), static_cast<off_t>(2 * bytes)), 0);
    client.words[0] = 42;
    fallocate(client.page.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes));
    client.words[1] = 43;
    EXPECT_GT(client.sit_down(), 0u);
    for (std::size_t i = 0; i < client.count(); ++i) EXPECT_EQ(client.words[i].load(), 0u);
    void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, client.page.get(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    for (const Attempt& attempt : kAttempts)
        EXPECT_FALSE(attempt.succeeds(client.page.get(), mapped, bytes)) << "a client can " << attempt.what;
    EXPECT_NE(madvise(client.words, bytes, MADV_REMOVE), 0);
    munmap(mapped, bytes);
}

TEST(DirectPage, ThatItsClientSealedItselfIsNotLookedAt) {
    LocalRobot robot(two_may_read_directly);
    robot.publish(1);
    for (const int seals : {F_SEAL_SEAL, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE}) {
        RawDirect client(robot.folder);
        ASSERT_EQ(fcntl(client.page.get(), F_ADD_SEALS, seals), 0);
        EXPECT_EQ(client.sit_down(), 0u);
        // It goes on by asking, and its seat is free for another.
        client.ask(wire::RequestType::obs_request);
        ASSERT_TRUE(client.next());
        EXPECT_EQ(client.packet().kind(), net::PacketKind::message);
        const auto other = robot.connect();
        EXPECT_TRUE(other->reads_directly());
    }
}

TEST(DirectPage, IsAnotherForEveryClient) {
    LocalRobot robot(two_may_read_directly);
    robot.publish(1);
    RawDirect first(robot.folder);
    first.map();
    const std::uint64_t number = first.sit_down();
    first.hang_up();
    EXPECT_TRUE(eventually([&] { return robot.log.count(" gone: ") == 1; }));
    RawDirect second(robot.folder);
    second.map();
    EXPECT_GT(second.sit_down(), number);
    first.words[0] = 42;  // which it still has mapped
    EXPECT_EQ(second.words[0].load(), 0u);
}

TEST(DirectPage, ThatWasNotGivenIsAViolation) {
    LocalRobot robot(two_may_read_directly);
    RawLocal without(robot.folder);
    without.hello("observe");
    without.say(net::PacketKind::direct, "");
    EXPECT_NE(without.goodbye().find("not given"), std::string::npos);
    RawDirect twice(robot.folder);
    twice.map();
    twice.sit_down();
    twice.say(net::PacketKind::direct, "");
    EXPECT_NE(twice.goodbye().find("not given"), std::string::npos);
}

// Words that mean something, at random, wherever a writer looks, for as long as the process lives.
[[noreturn]] void scribble(std::atomic<std::uint64_t>* words, std::size_t count, std::uint64_t occupant) {
    std::mt19937_64 random(1);
    for (;;) {
        const std::uint64_t number = random();
        const std::uint64_t kinds[] = {number,
                                       number << 2 | 2,
                                       (number & 0xfffff) << 2 | 2,
                                       0,
                                       (occupant << 40 | (number & 7)) << 2 | 1,
                                       ((occupant + 1) << 40 | (number & 7)) << 2 | 1};
        words[(number >> 32) % count] = kinds[number % std::size(kinds)];
    }
}

TEST(DirectPage, ThatIsNotMappedYetIsFollowedByNoMessage) {
    LocalRobot robot(two_may_read_directly);
    RawDirect client(robot.folder);
    client.ask(wire::RequestType::metadata);
    const std::string goodbye = client.goodbye();
    EXPECT_NE(goodbye.find("a message came before the page was mapped"), std::string::npos) << goodbye;
}

TEST(DirectPage, FullOfGarbageHarmsNobody) {
    LocalRobot robot(two_may_read_directly);
    robot.publish(1);
    RawDirect hostile(robot.folder);
    hostile.map();
    const std::uint64_t occupant = hostile.sit_down();
    const std::size_t looked_at = 2 * kGuestPins;  // of the only camera, and some that nobody looks at
    const pid_t process = start_process([&] { scribble(hostile.words, looked_at, occupant); });
    ASSERT_TRUE(eventually([&] { return hostile.words[0].load() != 0; }));

    const auto client = robot.connect();
    ASSERT_TRUE(client->reads_directly());
    std::atomic<bool> done{false};
    std::thread sensor([&] {
        for (int i = 0; !done; ++i)
            robot.publish(static_cast<std::uint8_t>(2 + i % 250));  // which has to find a slot each time
    });
    // What is torn shows two values.
    const auto whole = [](const CameraInfo& camera) {
        const std::uint8_t* first = std::as_const(camera.image).data();
        float depth[kPixels / 3];
        std::memcpy(depth, std::as_const(camera.depth_data).data(), sizeof depth);
        return std::all_of(first, first + kPixels, [&](std::uint8_t p) { return p == first[0]; }) &&
               std::all_of(depth, depth + kPixels / 3, [&](float d) { return d == first[0]; });
    };
    std::uint64_t last = 0;
    CameraInfo kept;
    for (int i = 0; i < 2000; ++i) {
        CameraInfo camera;
        client->get_camera("wrist", camera);
        EXPECT_GE(camera.sequence, last);
        last = camera.sequence;
        ASSERT_TRUE(whole(camera));
        if (i % 50 == 0) {
            kept = {};
            client->get_camera("wrist", kept);
            ASSERT_TRUE(whole(client->get_obs()["wrist"]));
        }
        ASSERT_TRUE(whole(kept));
    }
    done = true;
    sensor.join();
    kill_process(process);
}

TEST(DirectReading, OfAProcessThatIsKilledWhileItHoldsImagesEnds) {
    LocalRobot robot([](ServerOptions& options) { options.access.local.direct_readers = 1; });
    robot.publish(1);
    for (int i = 0; i < 20; ++i) {
        Pipe held;
        const pid_t process = start_process([&] {
            auto* client = new PolicyClient(robot.uri());
            auto* images = new CameraInfo[2];
            client->connect();
            for (int n = 0; n < 2; ++n) client->get_camera("wrist", images[n]);
            if (!client->reads_directly() || write(held.ends[1], "x", 1) != 1) _exit(1);
        });
        held.wait_for_byte();
        kill_process(process);
        ASSERT_TRUE(eventually([&] { return robot.log.count(" gone: ") == static_cast<std::size_t>(i) + 1; }));
        robot.publish(static_cast<std::uint8_t>(i + 2));
    }
    const auto client = robot.connect();
    ASSERT_TRUE(client->reads_directly());
    CameraInfo camera;
    client->get_camera("wrist", camera);
    expect_image(camera, 21);
}

TEST(DirectReading, KeepsWhatItHoldsWhenAForkedChildLetsGoOfIt) {
    LocalRobot robot(two_may_read_directly);
    robot.publish(1);
    const auto client = robot.connect();
    CameraInfo held;
    client->get_camera("wrist", held);
    Pipe done;
    const pid_t process = start_process([&] {
        held = {};
        try {
            client->get_camera("wrist", held);
        } catch (const std::logic_error&) {
            if (write(done.ends[1], "x", 1) != 1) _exit(1);
        }
    });
    done.wait_for_byte();
    kill_process(process);
    for (std::uint8_t value = 2; value < 50; ++value) robot.publish(value);
    expect_image(held, 1);
}

TEST(DirectLayout, ThatPointsOutsideTheMemoryIsRefused) {
    Engine engine(one_camera(), {});
    net::DirectLayout good{
        4096, 4080, {{"wrist", kHeight, kWidth, 3, false, DType::uint8, DType::float32, 0.0, 1, 1, engine.guest_camera(0)}}};
    const std::uint64_t memory = engine.arena().bytes + (std::uint64_t{1} << 20);
    const auto refused = [&](const net::DirectLayout& layout) {
        try {
            net::read_direct_layout(net::direct_layout(layout), memory);
            return false;
        } catch (const std::runtime_error&) {
            return true;
        }
    };
    EXPECT_FALSE(refused(good));
    using Break = void (*)(GuestCamera&);
    const Break breaks[] = {
        [](GuestCamera& c) { c.view = ~std::uint64_t{7}; },
        [](GuestCamera& c) { ++c.view; },
        [](GuestCamera& c) { c.hazards = 4096; },
        [](GuestCamera& c) { c.buffers[0].slots = ~std::uint64_t{0} & ~std::uint64_t{63}; },
        [](GuestCamera& c) { c.buffers[0].stride = std::uint64_t{1} << 62; },
        [](GuestCamera& c) { c.buffers[1].count = 64; },
        [](GuestCamera& c) { c.buffers[1].count = 0; },
        [](GuestCamera& c) { c.buffers[2].spare = std::uint64_t{1} << 40; },
        [](GuestCamera& c) { c.buffers[2].bytes = 8; },
        [](GuestCamera& c) { c.buffers[0].bytes = c.buffers[0].stride + 1; },
        [](GuestCamera& c) { c.buffers[3].stamps = std::uint64_t{1} << 40; },
    };
    for (const Break& spoil : breaks) {
        net::DirectLayout bad = good;
        spoil(bad.cameras.front().place);
        EXPECT_TRUE(refused(bad)) << "number " << &spoil - breaks;
    }
    for (const std::uint64_t place : {std::uint64_t{4084}, std::uint64_t{4088}, std::uint64_t{4096}, ~std::uint64_t{7}}) {
        net::DirectLayout bad = good;
        bad.bell = place;
        EXPECT_TRUE(refused(bad)) << "a bell at " << place;
    }
    std::vector<std::uint8_t> bytes = net::direct_layout(good);
    while (!bytes.empty()) {
        bytes.pop_back();
        EXPECT_THROW(net::read_direct_layout(bytes, memory), std::runtime_error);
    }
}

}  // namespace
}  // namespace chiral::test
