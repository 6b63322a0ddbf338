// SPDX-License-Identifier: Apache-2.0
#include "local_clients.hpp"

#include "faults.hpp"
#include "local_socket.hpp"
#include "observation_look.hpp"
#include "real_time.hpp"
#include "worker.hpp"

#include <chiral/client.hpp>

#include <fmt/format.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <random>
#include <stdexcept>
#include <utility>

namespace chiral::stress {
namespace {

using std::chrono::steady_clock;

const std::vector<ProprioConfig> kNone;
const std::atomic<bool> kNever{false};

std::string observing(const std::string& socket) { return "unix://" + socket + "?observe=1"; }

void expect_unharmed(const LookChecker& checker) {
    if (checker.tally().violations() > 0) throw std::runtime_error(checker.tally().examples.front());
}

void expect_direct(const PolicyClient& client) {
    if (!client.reads_directly()) throw std::runtime_error("the server has given it no page to read directly");
}

void nap() noexcept { sleep_until(steady_clock::now() + std::chrono::milliseconds(1), kNever); }

// The newest image of each camera, pinned by the client itself.
class DirectLooks final : public StoreReader {
public:
    DirectLooks(PolicyClient& client, const std::vector<CameraConfig>& cameras)
        : client_(client), cameras_(cameras), shown_(cameras.size()) {}

    const Look& look() override {
        for (std::size_t i = 0; i < shown_.size(); ++i) client_.get_camera(cameras_[i].name, shown_[i]);
        return look_.of(shown_);
    }
    bool release() override {
        for (CameraInfo& camera : shown_) {
            camera.image.clear();
            camera.depth_data.clear();
        }
        return true;
    }

private:
    PolicyClient& client_;
    const std::vector<CameraConfig>& cameras_;
    std::vector<CameraInfo> shown_;
    ObservationLook look_;
};

}  // namespace

LocalClients::LocalClients(LocalPlan plan, const Progress& progress, const std::atomic<bool>& stop)
    : plan_(std::move(plan)), progress_(progress), stop_(stop), nursery_([this] {
          std::vector<Nursery::Role> all(roles);
          all[own] = [this](const std::string&) { be_own(); };
          all[newcomer] = [this](const std::string&) { be_newcomer(); };
          all[holder] = [this](const std::string& socket) { hold(socket, false); };
          all[parent] = [this](const std::string& socket) { hold(socket, true); };
          all[survivor] = [this](const std::string& socket) { survive(socket); };
          all[liar] = [this](const std::string&) { lie(); };
          return all;
      }()) {}

Nursery::Child LocalClients::start_own() { return nursery_.start(own, {}); }
Nursery::Child LocalClients::start_newcomer() { return nursery_.start(newcomer, {}); }
Nursery::Child LocalClients::start_holder(const std::string& socket) { return nursery_.start(holder, socket); }
Nursery::Child LocalClients::start_parent() { return nursery_.start(parent, plan_.socket); }
Nursery::Child LocalClients::start_survivor(const std::string& socket) { return nursery_.start(survivor, socket); }
Nursery::Child LocalClients::start_liar() { return nursery_.start(liar, {}); }

// ---- the run's own ----

void LocalClients::be_own() const {
    if (plan_.leaves_real_time_cores) leave_to_real_time(real_time_cores());
    PolicyClient client("unix://" + plan_.socket, patient_client_options());
    client.connect();
    LookChecker asking("local client", plan_.cameras, plan_.proprios, plan_.writes, progress_);
    LookChecker reading("direct reader", plan_.cameras, kNone, plan_.writes, progress_);
    for (LookChecker* checker : {&asking, &reading})
        if (plan_.least_clock_step < Nanoseconds::max()) checker->allow_clock_steps(plan_.least_clock_step);
    if (plan_.direct) expect_direct(client);
    ConnectionTurn turn;  // keeps it: there is room for those of faults
    const auto ask = [&] {
        read_over_ws(client, asking, progress_, plan_.asking, turn, stop_, room_->asking_live, room_->asking_times);
    };
    if (plan_.direct) {
        Worker beside("direct reader", [&] { read_directly(client, reading); });
        ask();
        beside.join_until(SteadyTime::max());
        if (!beside.failure().empty()) throw std::runtime_error(beside.failure());
    } else {
        ask();
    }
    client.close();
    room_->asking.store(asking.tally());
    room_->reading.store(reading.tally());
}

void LocalClients::read_directly(PolicyClient& client, LookChecker& checker) const {
    DirectLooks looks(client, plan_.cameras);
    read_store(looks, checker, progress_, plan_.reading, stop_, room_->reading_live, room_->reading_times);
}

// ---- those of faults ----

void LocalClients::be_newcomer() const {
    PolicyClient client(observing(plan_.socket), patient_client_options());
    if (!connect_when_let_in(client, kFaultDeadline, stop_)) return;
    expect_direct(client);
    LookChecker asking("a new client", plan_.cameras, plan_.proprios, plan_.writes, progress_);
    LookChecker reading("a new direct reader", plan_.cameras, kNone, plan_.writes, progress_);
    Floor floor;
    progress_.read(floor);
    const Observation obs = client.get_obs();
    ObservationLook adapter;
    asking.check(adapter.of(obs), floor, true);
    progress_.read(floor);
    DirectLooks looks(client, plan_.cameras);
    reading.check(looks.look(), floor, true);
    expect_unharmed(asking);
    expect_unharmed(reading);
}

void LocalClients::hold(const std::string& socket, bool leaves_a_child) const {
    PolicyClient client(observing(socket), patient_client_options());
    if (!connect_when_let_in(client, kFaultDeadline, stop_)) return;
    expect_direct(client);
    LookChecker checker("who held", plan_.cameras, kNone, plan_.writes, progress_);
    Floor floor;
    progress_.read(floor);
    DirectLooks first(client, plan_.cameras), second(client, plan_.cameras);
    const Look& earlier = first.look();
    const Look& later = second.look();
    const Observation asked[] = {client.get_obs(), client.get_obs()};
    if (leaves_a_child && ::fork() == 0) {  // nothing but what a child of many threads may do
        const SteadyTime at_last = steady_clock::now() + kFaultDeadline;
        while (!room_->fault.orphans_end && !stop_ && steady_clock::now() < at_last) nap();
        ::_exit(0);
    }
    ++room_->fault.held;
    while (!room_->fault.look_again && !stop_) nap();
    // However long that was: what it held is what it was.
    checker.check(earlier, floor, true);
    checker.check(later, floor, true);
    ObservationLook adapter;
    LookChecker asking("who held", plan_.cameras, plan_.proprios, plan_.writes, progress_);
    for (const Observation& obs : asked) asking.check(adapter.of(obs), floor, true);
    expect_unharmed(checker);
    expect_unharmed(asking);
}

void LocalClients::survive(const std::string& socket) const {
    PolicyClient client("unix://" + socket, patient_client_options());
    client.connect();
    expect_direct(client);
    CameraInfo held;
    client.get_camera("cam", held);
    const std::vector<std::uint8_t> copy(held.image.data(), held.image.data() + held.image.size());
    ++room_->fault.held;
    while (!room_->fault.look_again && !stop_) nap();
    if (stop_) return;
    // Nobody writes there: its server is gone, and has left the memory to whoever has it.
    if (!std::equal(copy.begin(), copy.end(), held.image.data(), held.image.data() + held.image.size()))
        throw std::runtime_error("what was held of a server that has ended is not what it was");
    if (!connect_when_let_in(client, kFaultDeadline, stop_)) return;
    expect_direct(client);
    CameraInfo anew;
    client.get_camera("cam", anew);
    if (anew.status != SourceStatus::fresh || anew.image[0] == copy[0])
        throw std::runtime_error("the server that came after it shows nothing new");
}

void LocalClients::lie() const {
    const std::optional<LocalSocket> socket = LocalSocket::let_in(plan_.socket, "observe", true, stop_);
    if (!socket) return;
    const LocalSocket::Packet page = socket->receive();
    std::uint64_t bytes = 0;  // the layout begins with it
    if (page.bytes.size() < 1 + sizeof bytes || page.descriptor.number() < 0)
        throw std::runtime_error("the server has given it no page to read directly");
    std::memcpy(&bytes, page.bytes.data() + 1, sizeof bytes);
    void* const mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, page.descriptor.number(), 0);
    if (mapped == MAP_FAILED) fail("mmap");
    socket->send("D");
    socket->receive();  // it is where writers look
    auto* const words = static_cast<std::atomic<std::uint64_t>*>(mapped);
    std::mt19937_64 random(static_cast<std::uint64_t>(::getpid()));
    const std::size_t count = bytes / sizeof *words;
    ++room_->fault.held;
    while (!stop_) {
        for (int i = 0; i < 1024; ++i) words[random() % count].store(random(), std::memory_order_relaxed);
        room_->fault.words += 1024;
    }
}

}  // namespace chiral::stress
