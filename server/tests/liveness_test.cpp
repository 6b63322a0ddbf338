// SPDX-License-Identifier: Apache-2.0
// Dead, deaf, idle or alive, and when a message arrived: times and counts go in.
#include "websocket/liveness.hpp"
#include "websocket/arrival.hpp"

#include <gtest/gtest.h>

namespace chiral::test {
namespace {

using robot::Cause;
using std::chrono::milliseconds;
using std::chrono::seconds;
using websocket::ArrivalClock;
using websocket::Liveness;

constexpr Liveness::Limits kLimits{seconds(1), seconds(10), Duration::zero()};
const TimePoint kBegin{std::chrono::hours(1)};

net::TcpHealth health(std::uint32_t unacknowledged, std::uint64_t acknowledged, std::uint64_t received) {
    net::TcpHealth seen;
    seen.unacknowledged = unacknowledged;
    seen.acknowledged_bytes = acknowledged;
    seen.received_bytes = received;
    return seen;
}
Liveness::Seen reading(net::TcpHealth of) {
    Liveness::Seen seen;
    seen.health = of;
    seen.reading = true;
    return seen;
}

// The cause for which it is given up first, if that happens within an hour of looks.
std::optional<std::pair<Cause, Duration>> given_up(Liveness::Limits limits, const Liveness::Seen& seen) {
    Liveness liveness(limits, kBegin);
    for (TimePoint now = kBegin; now < kBegin + std::chrono::hours(1); now += milliseconds(200))
        if (const auto verdict = liveness.look(now, seen)) return std::pair(verdict->cause, now - kBegin);
    return std::nullopt;
}

TEST(AClient, WhoseMachineAcknowledgesMaySayNothingForAsLongAsItInfers) {
    EXPECT_FALSE(given_up(kLimits, reading(health(0, 5, 5))));
}
TEST(AClient, WhoseMachineAcknowledgesNothingIsDeadWithinItsLimit) {
    const auto end = given_up(kLimits, reading(health(1, 5, 5)));
    ASSERT_TRUE(end);
    EXPECT_EQ(end->first, Cause::dead);
    EXPECT_LE(end->second, seconds(1));
}
TEST(AClient, ThatTakesNothingOfAnAnswerIsDeafAfterItsOwnLimit) {
    Liveness::Seen seen = reading(health(0, 5, 5));
    seen.writing = true;
    const auto end = given_up(kLimits, seen);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->first, Cause::deaf);
    EXPECT_GE(end->second, seconds(10));
}
TEST(AClient, ThatSaysNothingIsIdleWhereALimitIsSet) {
    const auto end = given_up({seconds(1), seconds(10), seconds(3)}, reading(health(0, 5, 5)));
    ASSERT_TRUE(end);
    EXPECT_EQ(end->first, Cause::idle);
    EXPECT_NE(robot::ending_of(Cause::idle).close_code, 0) << "it is told why";
}
TEST(AClient, ThatBeganAMessageHasToEndIt) {
    Liveness::Seen seen = reading(health(0, 5, 5));
    seen.in_message = true;
    const auto end = given_up(kLimits, seen);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->first, Cause::unfinished);
}
TEST(AClient, IsIdleAfterTheLimitOfTheDeafWhereTheSystemTellsNothing) {
    Liveness::Seen seen;
    seen.reading = true;
    const auto end = given_up(kLimits, seen);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->first, Cause::idle);
    EXPECT_GE(end->second, seconds(10));
}

// ---- arrival ----

TEST(AMessage, ArrivesWhenItIsReadAsLongAsReadingGoesOn) {
    ArrivalClock clock(milliseconds(250), kBegin);
    const TimePoint now = kBegin + milliseconds(200);
    clock.turn(now, [] { return 100u; });
    EXPECT_EQ(clock.arrival(now, [] { return 100u; }), now);
}

// Two seconds of SIGSTOP, or of an action queue that is full: 99 messages of 10 bytes are in the kernel then.
TEST(AMessage, ThatWaitedInTheKernelArrivedAtTheEarliestWhenReadingStopped) {
    ArrivalClock clock(milliseconds(250), kBegin);
    TimePoint now = kBegin + seconds(2);
    std::uint64_t taken = 1000;
    for (int i = 0; i < 99; ++i) {
        clock.turn(now, [] { return 1990u; });
        EXPECT_EQ(clock.arrival(now, [&] { return taken += 10; }), kBegin) << i;
        now += milliseconds(1);
    }
    clock.turn(now, [] { return 2000u; });
    EXPECT_EQ(clock.arrival(now, [&] { return taken += 10; }), now) << "this one came later";
}

TEST(AMessage, OfASecondGapInABacklogIsNoYoungerThanTheFirst) {
    ArrivalClock clock(milliseconds(250), kBegin);
    clock.turn(kBegin + seconds(2), [] { return 100u; });
    clock.turn(kBegin + seconds(4), [] { return 200u; });
    EXPECT_EQ(clock.arrival(kBegin + seconds(4), [] { return 150u; }), kBegin);
    EXPECT_EQ(clock.arrival(kBegin + seconds(5), [] { return 201u; }), kBegin + seconds(5));
}

}  // namespace
}  // namespace chiral::test
