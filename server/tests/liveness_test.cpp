// SPDX-License-Identifier: Apache-2.0
// Dead, deaf, idle or alive, and when a message arrived: times and counts go in.
#include "websocket/liveness.hpp"
#include "net/stamp_age.hpp"
#include "robot/arrival.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>

namespace chiral::test {
namespace {

using robot::ArrivalClock;
using robot::Cause;
using std::chrono::milliseconds;
using std::chrono::seconds;
using websocket::Liveness;

constexpr Duration kLook = milliseconds(200);
constexpr Liveness::Limits kLimits{seconds(1), seconds(10), Duration::zero(), kLook};
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
    for (TimePoint now = kBegin; now < kBegin + std::chrono::hours(1); now += kLook)
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
    const auto end = given_up({seconds(1), seconds(10), seconds(3), kLook}, reading(health(0, 5, 5)));
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

// Nobody wrote, read or pinged while the server's process was stopped.
TEST(AClient, IsNotBlamedForATimeInWhichTheServerStoodStill) {
    constexpr Liveness::Limits limits{seconds(1), seconds(10), seconds(3), kLook};
    Liveness::Seen says_nothing = reading(health(0, 5, 5)), takes_nothing = says_nothing, in_a_message = says_nothing;
    takes_nothing.writing = true;
    in_a_message.in_message = true;
    for (const Liveness::Seen& seen : {says_nothing, takes_nothing, in_a_message}) {
        Liveness liveness(limits, kBegin);
        EXPECT_FALSE(liveness.look(kBegin + kLook, seen));
        const TimePoint goes_on = kBegin + std::chrono::hours(1);
        EXPECT_FALSE(liveness.look(goes_on, seen));
        bool ended = false;
        for (TimePoint now = goes_on; now < goes_on + std::chrono::minutes(1); now += kLook)
            ended = ended || liveness.look(now, seen).has_value();
        EXPECT_TRUE(ended) << "but for what it does not do from then on";
    }
    Liveness liveness(limits, kBegin);
    EXPECT_FALSE(liveness.look(kBegin + kLook, reading(health(1, 5, 5))));
    const auto verdict = liveness.look(kBegin + std::chrono::hours(1), reading(health(1, 5, 5)));
    ASSERT_TRUE(verdict) << "kernels go on acknowledging";
    EXPECT_EQ(verdict->cause, Cause::dead);
}

// ---- arrival ----

constexpr Duration kTurn = milliseconds(250);

// Of a connection of which the kernel has received and given so much, and nothing comes while it is asked.
auto counts(std::uint64_t received, std::uint64_t taken) {
    return [=] { return std::optional(ArrivalClock::Bytes{received, taken, taken}); };
}

TEST(AMessage, ArrivesWhenItIsReadAsLongAsReadingGoesOn) {
    ArrivalClock clock(kTurn, kBegin);
    const TimePoint now = kBegin + milliseconds(200);
    clock.turn(now, counts(100, 100));
    EXPECT_EQ(clock.arrival(now, counts(100, 100)), now);
}

// Two seconds of SIGSTOP, or of an action queue that is full: 99 messages of 10 bytes are in the kernel then.
TEST(AMessage, ThatWaitedInTheKernelArrivedAtTheEarliestWhenReadingStopped) {
    ArrivalClock clock(kTurn, kBegin);
    TimePoint now = kBegin + seconds(2);
    std::uint64_t taken = 1000;
    for (int i = 0; i < 99; ++i) {
        taken += 10;
        clock.turn(now, counts(1990, taken));
        EXPECT_EQ(clock.arrival(now, counts(1990, taken)), kBegin) << i;
        now += milliseconds(1);
    }
    clock.turn(now, counts(2000, 2000));
    EXPECT_EQ(clock.arrival(now, counts(2000, 2000)), now) << "this one came later";
}

// A process that goes on slowly: the beat notices 20 messages of 10 bytes, another one comes, one read takes all 21.
TEST(AMessage, ThatWasTakenOutOfTheKernelTogetherWithANewerOneIsAsOldAsItWas) {
    ArrivalClock clock(kTurn, kBegin);
    const TimePoint now = kBegin + seconds(2);
    clock.turn(now, counts(200, 0));
    for (int i = 0; i < 20; ++i) EXPECT_EQ(clock.arrival(now, counts(210, 210)), kBegin) << i;
    EXPECT_EQ(clock.arrival(now, counts(210, 210)), kBegin) << "the newer one: nobody can tell";
    EXPECT_EQ(clock.arrival(now, counts(220, 220)), now);
}

// Likewise, and bytes come while the first of them is being looked at.
TEST(AMessage, IsNotTakenForNewByBytesThatComeWhileTheyAreCounted) {
    ArrivalClock clock(kTurn, kBegin);
    const TimePoint now = kBegin + seconds(2);
    clock.turn(now, counts(200, 0));
    const auto racing = [] { return std::optional(ArrivalClock::Bytes{240, 210, 240}); };  // 210 were taken, 30 came
    EXPECT_EQ(clock.arrival(now, racing), kBegin);
    EXPECT_EQ(clock.arrival(now, counts(240, 210)), kBegin) << "of the same read";
    EXPECT_EQ(clock.arrival(now, counts(240, 240)), now);
}

TEST(AMessage, AfterAGapInWhichNothingCameIsNew) {
    ArrivalClock clock(kTurn, kBegin);
    clock.turn(kBegin + seconds(2), counts(200, 200));
    EXPECT_EQ(clock.arrival(kBegin + seconds(2), counts(210, 210)), kBegin + seconds(2));
}

TEST(AMessage, OfASecondGapInABacklogIsNoYoungerThanTheFirst) {
    ArrivalClock clock(kTurn, kBegin);
    clock.turn(kBegin + seconds(2), counts(100, 0));
    clock.turn(kBegin + seconds(4), counts(200, 0));
    EXPECT_EQ(clock.arrival(kBegin + seconds(4), counts(200, 150)), kBegin);
    EXPECT_EQ(clock.arrival(kBegin + seconds(5), counts(201, 201)), kBegin) << "it began in the second gap";
    EXPECT_EQ(clock.arrival(kBegin + seconds(5), counts(210, 210)), kBegin + seconds(5));
}

TEST(AMessage, WaitedIfItComesWithinATurnAfterTheGapWhereTheSystemDoesNotCount) {
    ArrivalClock clock(kTurn, kBegin);
    const auto nothing = [] { return std::optional<ArrivalClock::Bytes>(); };
    TimePoint now = kBegin + seconds(2);
    clock.turn(now, nothing);
    EXPECT_EQ(clock.arrival(now, nothing), kBegin);
    now += kTurn;
    clock.turn(now, nothing);
    EXPECT_EQ(clock.arrival(now, nothing), kBegin);
    now += milliseconds(1);
    clock.turn(now, nothing);
    EXPECT_EQ(clock.arrival(now, nothing), now);
}

// ---- arrival, as the sender says it ----

class ASendersClock : public testing::Test {
protected:
    // Sent at so many ms since the beginning by a clock that is ahead of ours by `offset_`, read so many ms later.
    TimePoint arrival(int sent_ms, int took_ms) {
        const TimePoint sent = kBegin + milliseconds(sent_ms);
        const auto theirs = static_cast<std::uint64_t>((sent.time_since_epoch() + offset_).count());
        return clock_.arrival(theirs, sent + milliseconds(took_ms));
    }
    robot::SenderClock clock_;
    Duration offset_ = std::chrono::hours(1000);
};

TEST_F(ASendersClock, TellsThatMessagesWaitedThatCameSlowerThanOthers) {
    for (int i = 0; i < 10; ++i) EXPECT_EQ(arrival(100 * i, 5), kBegin + milliseconds(100 * i + 5));
    for (int i = 10; i < 20; ++i) {  // the receiver is stopped until 3000
        const int sent = 100 * i, took = 3000 - sent;
        EXPECT_NEAR(static_cast<double>((arrival(sent, took) - kBegin).count()), 1e6 * (sent + 5), 1e6) << i;
    }
    EXPECT_EQ(arrival(3100, 4), kBegin + milliseconds(3104)) << "faster than ever";
}

TEST_F(ASendersClock, MayGoFasterOrSlowerThanOurs) {
    for (const int ppm : {-100, 100}) {
        for (int hours = 0; hours < 10; ++hours) {
            offset_ = std::chrono::hours(hours) * ppm / 1'000'000;
            const int sent = hours * 3'600'000;
            EXPECT_EQ(arrival(sent, 5), kBegin + milliseconds(sent + 5)) << ppm << " ppm after " << hours << " h";
        }
        clock_ = {};
    }
}

TEST_F(ASendersClock, ThatSaysAnythingIsNeverFromTheFutureAndNeverUndefined) {
    const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    for (const std::uint64_t sent : {std::uint64_t{1}, most, most / 2, most / 2 + 1, std::uint64_t{0}, most - 1})
        EXPECT_LE(clock_.arrival(sent, kBegin), kBegin) << sent;
}

// ---- stamps of the wall clock ----

constexpr net::StampAge::Nanoseconds kWall = std::chrono::hours(500'000), kUp = std::chrono::hours(3);

TEST(AStamp, IsAsOldAsTheWallClockSaysAsLongAsNobodySetsIt) {
    net::StampAge age;
    EXPECT_EQ(age.of(kWall, kWall + seconds(2), kUp + seconds(2)), seconds(2));
    age.all_read(kWall + seconds(3), kUp + seconds(3));
    EXPECT_EQ(age.of(kWall + seconds(4), kWall + seconds(5), kUp + seconds(5)), seconds(1));
}

TEST(AStamp, OfWhatWaitedIsNotMadeYoungerByAClockThatIsSetBack) {
    net::StampAge age;
    age.all_read(kWall, kUp);
    const auto set_back = std::chrono::minutes(1);
    const auto later = seconds(5);  // for which two packets have waited
    for (int packet = 0; packet < 2; ++packet)
        EXPECT_EQ(age.of(kWall, kWall + later - set_back, kUp + later), later) << packet;
    age.all_read(kWall + later - set_back, kUp + later);
    const auto now = later + seconds(1);
    EXPECT_EQ(age.of(kWall + now - set_back, kWall + now - set_back, kUp + now), seconds(0)) << "this one came after that";
}

}  // namespace
}  // namespace chiral::test
