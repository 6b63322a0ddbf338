// SPDX-License-Identifier: Apache-2.0
// Local clients that lie, flood, die, or are somebody else: they harm nobody, and nothing of them stays.
#include "local_processes.hpp"
#include "local_robot.hpp"

#include <csignal>
#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <thread>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace chiral::test {
namespace {

TEST(LocalMemory, CannotBeChangedByWhomItIsLentTo) {
    LocalRobot robot;
    robot.publish(7);
    RawLocal client(robot.folder);
    const net::Welcome welcome = client.hello();
    const auto bytes = static_cast<std::size_t>(welcome.bytes);
    void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, client.memory.get(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    for (const Attempt& attempt : kAttempts)
        EXPECT_FALSE(attempt.succeeds(client.memory.get(), mapped, bytes)) << "a client can " << attempt.what;
    munmap(mapped, bytes);
    robot.publish(8);
    client.hang_up();
    const auto next = robot.connect();
    expect_shows(next->get_obs(), 8);
}

TEST(LocalClients, ThatTalkNonsenseAreClosedAndTheNextIsServed) {
    LocalRobot robot([](ServerOptions& options) { options.access.local.max_connections_per_user = 64; });
    robot.publish(1);
    std::mt19937 random(1);
    for (int i = 0; i < 60; ++i) {
        RawLocal client(robot.folder);
        if (i % 2 == 0) {
            try {
                client.hello(i % 4 == 0 ? "control" : "observe");
            } catch (const std::runtime_error&) {  // the one before has not left yet
                continue;
            }
        }
        for (int packet = 0; packet < 5; ++packet) {
            std::string noise(random() % 3000, '\0');
            for (char& c : noise) c = static_cast<char>(random());
            const char kinds[] = "HWNpMRCx";
            client.say(static_cast<net::PacketKind>(kinds[random() % 8]), noise);
        }
    }
    const auto client = robot.connect();
    expect_shows(client->get_obs(), 1);
    EXPECT_GT(robot.server.stats().protocol_errors, 0u);
}

TEST(LocalClients, ThatPassDescriptorsAreClosedAndTheDescriptorsWithThem) {
    LocalRobot robot;
    int pipe[2];
    ASSERT_EQ(pipe2(pipe, O_CLOEXEC | O_NONBLOCK), 0);
    const net::Descriptor reads(pipe[0]);
    RawLocal client(robot.folder);
    client.hello();
    client.say(net::PacketKind::release, "x", pipe[1]);
    close(pipe[1]);
    EXPECT_NE(client.goodbye().find("a descriptor came"), std::string::npos);
    // The pipe ends when nobody has its other end any more.
    char byte = 0;
    EXPECT_TRUE(eventually([&] { return read(reads.get(), &byte, 1) == 0; }));
}

TEST(LocalClients, ThatFloodAreClosed) {
    LocalRobot robot([](ServerOptions& options) { options.max_messages_per_second = 1; });
    RawLocal client(robot.folder);
    client.hello();
    std::thread flood([&] {
        while (client.say(net::PacketKind::part, "x") != net::PacketOutcome::broken) std::this_thread::yield();
    });
    EXPECT_TRUE(eventually([&] { return robot.server.stats().protocol_errors == 1; }));
    client.shut_down();
    flood.join();
    EXPECT_TRUE(robot.log.wait_for("got too many packets in a second"));
}

TEST(LocalClients, ThatDoNotReadWhatTheyWishedForAreClosed) {
    LocalRobot robot;
    robot.publish(1);
    RawLocal client(robot.folder);
    client.hello();
    const std::vector<std::uint8_t> wish = net::bell_wish({"wrist"});
    const std::string_view text(reinterpret_cast<const char*>(wish.data()), wish.size());
    EXPECT_TRUE(eventually([&] {
        client.say(net::PacketKind::bell, text);
        return robot.log.count(" gone: ") == 1;
    }));
    const auto next = robot.connect();
    EXPECT_EQ(next->wait_frame("wrist", 0, kDeadline), 1u);
}

TEST(LocalClients, ThatGiveBackWhatTheyDoNotHoldAreClosed) {
    LocalRobot robot;
    RawLocal client(robot.folder);
    client.hello();
    client.say(net::PacketKind::release, "\x01");
    EXPECT_NE(client.goodbye().find("gives back what it does not hold"), std::string::npos);
}

/// Connects, holds all that it may, and says so.
void hold_all(const OwnFolder& folder, int done) {
    auto* client = new RawLocal(folder);  // for as long as the process lives
    client->hello();
    for (int i = 0; i < 2; ++i) {
        client->ask(wire::RequestType::obs_request);
        if (!client->next()) return;
    }
    if (write(done, "x", 1) != 1) _exit(1);
}

TEST(LocalClients, KilledWhileTheyHoldAllTheyMayLeaveNothingBehind) {
    LocalRobot robot;
    robot.publish(1);
    for (int i = 0; i < 20; ++i) {
        Pipe held;
        const pid_t process = start_process([&] { hold_all(robot.folder, held.ends[1]); });
        held.wait_for_byte();
        kill_process(process);
        // Whoever is missed can be followed.
        ASSERT_TRUE(eventually([&] { return robot.log.count(" gone: ") == static_cast<std::size_t>(i) + 1; }));
    }
    const auto client = robot.connect();
    const Observation one = client->get_obs();
    robot.publish(2);
    const Observation two = client->get_obs();
    expect_shows(one, 1);
    expect_shows(two, 2);
    EXPECT_EQ(robot.server.stats().copied_observations, 0u) << "a pin was left behind";
}

TEST(LocalClients, KilledAreMissedThoughAChildOfTheirsHasTheSocket) {
    if (!net::peer_process(RawLocal(LocalRobot().folder).socket())) return;  // a kernel that does not tell: documented
    LocalRobot robot;
    robot.publish(1);
    Pipe held, forked;
    const pid_t process = start_process([&] {
        hold_all(robot.folder, held.ends[1]);
        const pid_t child = fork();
        if (child == 0) {
            live_no_longer_than_needed();  // alarms are not inherited
            for (;;) pause();
        }
        if (write(forked.ends[1], &child, sizeof child) != sizeof child) _exit(1);
    });
    held.wait_for_byte();
    pid_t child = 0;
    ASSERT_EQ(read(forked.ends[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
    kill_process(process);
    const auto client = robot.connect();
    expect_shows(client->get_obs(), 1);
    kill(child, SIGKILL);
    EXPECT_TRUE(robot.log.wait_for("its process has ended"));
}

TEST(LocalClients, KeepWhatTheyHoldWhenAForkedChildLetsGoOfIt) {
    LocalRobot robot;
    robot.publish(1);
    const auto client = robot.connect();
    std::optional<Observation> held = client->get_obs();
    Pipe done;
    const pid_t process = start_process([&] {
        held.reset();
        if (write(done.ends[1], "x", 1) != 1) _exit(1);
    });
    done.wait_for_byte();
    kill_process(process);
    for (int value = 2; value < 50; ++value) robot.publish(static_cast<std::uint8_t>(value));
    expect_shows(*held, 1);
    held.reset();
    expect_shows(client->get_obs(), 49);
    EXPECT_EQ(robot.server.stats().protocol_errors, 0u);
}

TEST(LocalClients, OfOtherUsersAreLetInOnlyWhereTheyAreListed) {
    constexpr uid_t stranger = 65534;
    if (geteuid() != 0) {  // who cannot become another user can still be let in as the own one
        LocalRobot robot;
        EXPECT_NO_THROW(RawLocal(robot.folder).hello());
        return;
    }
    for (const bool listed : {false, true}) {
        LocalRobot robot([&](ServerOptions& options) {
            if (listed) options.access.local.users = {stranger};
        });
        robot.publish(1);
        // The file lets everybody pass here, so that it is the list that decides.
        std::filesystem::permissions(robot.folder.socket(), std::filesystem::perms(0666));
        std::filesystem::permissions(std::filesystem::path(robot.folder.socket()).parent_path(),
                                     std::filesystem::perms(0755));
        Pipe said;
        const pid_t process = start_process([&] {
            if (setresuid(stranger, stranger, stranger) != 0) return;
            std::string what = "let in";
            try {
                RawLocal(robot.folder).hello();
            } catch (const std::exception& error) {
                what = error.what();
            }
            if (write(said.ends[1], what.data(), what.size()) < 0) _exit(1);
        });
        char text[200]{};
        pollfd waiting{said.ends[0], POLLIN, 0};
        ASSERT_EQ(poll(&waiting, 1, 60'000), 1);
        ASSERT_GT(read(said.ends[0], text, sizeof text - 1), 0);
        EXPECT_STREQ(text, listed ? "let in" : "not let in: user 65534 is not allowed here");
        kill_process(process);
    }
}

TEST(LocalClients, OfOneUserAreSoManyAtMost) {
    LocalRobot robot([](ServerOptions& options) { options.access.local.max_connections_per_user = 1; });
    RawLocal first(robot.folder);
    first.hello();
    RawLocal second(robot.folder);
    try {
        second.hello();
        ADD_FAILURE() << "a second connection was let in";
    } catch (const std::runtime_error& error) {
        EXPECT_NE(std::string(error.what()).find("has 1 connections already"), std::string::npos) << error.what();
    }
}

}  // namespace
}  // namespace chiral::test
