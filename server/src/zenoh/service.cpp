// SPDX-License-Identifier: Apache-2.0
#include "zenoh/service.hpp"

#include "net/bearer_token.hpp"
#include "net/printable.hpp"
#include "net/sockets.hpp"
#include "net/zenoh_login.hpp"
#include "zenoh/configuration.hpp"
#include "zenoh/session.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace chiral::zenoh {

using robot::Cause;
using robot::count;

namespace {

// Hellos that may wait for the network thread; clients say it again.
constexpr int kMostHellos = 64;

constexpr const char* kAnotherRobot = "another robot is under the same prefix";
constexpr std::uint64_t kLookAroundMs = 1000;  // for other robots, at most

Duration beat_of(const ServerOptions& options) {
    return robot::turn_for(options.max_action_delay, std::chrono::milliseconds(250));
}

// Zenoh does not say how many bytes it has taken out of the kernel.
constexpr auto uncounted = [] { return std::optional<robot::ArrivalClock::Bytes>(); };

}  // namespace

Service::Service(robot::Robot& served, boost::asio::io_context& io_context, const std::string& host, int port)
    : robot(served),
      options(served.options),
      zenoh(*served.options.zenoh),
      stats(served.stats),
      io(io_context),
      keys_{zenoh.prefix},
      port_(port),
      door_(std::make_shared<Door>(2 * beat_of(options))),
      stranger_lines_(std::chrono::milliseconds(10), std::chrono::seconds(1)),
      beat_(io.get_executor()),
      force_(io.get_executor()) {
    door_->service = this;
    door_->inboxes.emplace("", std::make_shared<Inbox>("", options.max_message_bytes));
    open(host, port);
}

// Zenoh does not tell which port it was given: one that is free a moment before is nearly always free.
void Service::open(const std::string& host, int port) {
    const net::ZenohDictionary users(options.access.bearer_token);
    constexpr int tries = 5;
    for (int attempt = 1; !session_; ++attempt) {
        if (port == 0 && !host.empty()) port_ = net::free_tcp_port(host);
        try {
            session_.emplace(configuration(options, host, port_, users.path()), zenoh.config_file);
        } catch (const net::ZenohError& error) {
            if (port != 0 || attempt == tries)
                throw std::system_error(std::make_error_code(std::errc::io_error),
                                        "Zenoh at " + endpoint_text(host, port_) + ": " + error.what());
        }
    }
    if (const std::string warning = warning_if_open_to_all(options, host, port_); !warning.empty()) log(warning);
    log("serving Zenoh under " + keys_.prefix + (host.empty() ? "" : " at " + endpoint_text(host, port_)));
    if (!options.access.bearer_token.empty() && !zenoh.connect.empty())
        log(std::string("routers are to let in user '") + net::kZenohUser +
            "' with the token as password: there is no session with one that asks nobody");
}

// ---- from Zenoh's threads ----

// On the network thread the service may be gone again: the event loop is older than it, and ends after it.
template <class Function>
auto Service::on_network_thread(const std::shared_ptr<Door>& door, Function&& function) {
    return [door, function = std::forward<Function>(function)]() mutable {
        Service* service = nullptr;
        {
            const std::lock_guard still_there(door->mutex);
            service = door->service;
        }
        if (service != nullptr) function(*service);
    };
}

template <class Function>
void Service::hand_over(const std::shared_ptr<Door>& door, Function&& function) {
    const std::lock_guard lock(door->mutex);
    if (door->service != nullptr)
        boost::asio::post(door->service->io.get_executor(), on_network_thread(door, std::forward<Function>(function)));
}

// Where that must not fail. `memory` must outlive the function, and is for one at a time.
template <class Function>
void Service::hand_over(const std::shared_ptr<Door>& door, net::HandlerMemory& memory, Function&& function) noexcept {
    const std::lock_guard lock(door->mutex);
    if (door->service != nullptr)
        boost::asio::post(door->service->io.get_executor(),
                          net::PooledHandler(memory, on_network_thread(door, std::forward<Function>(function))));
}

void Service::on_message(const std::shared_ptr<Door>& door, const net::ZenohSample& sample) {
    const auto note = net::ZenohNote::decoded(sample.attachment());
    if (note && note->kind == net::ZenohNote::Kind::hello) return on_hello(door, sample);
    put(door, sample.name(), sample, note.value_or(net::ZenohNote{}));
}

void Service::on_hello(const std::shared_ptr<Door>& door, const net::ZenohSample& sample) {
    constexpr std::size_t longest = 4096;
    if (sample.size() > longest) return;
    {
        const std::lock_guard lock(door->mutex);
        if (door->hellos == kMostHellos) return;
        ++door->hellos;
    }
    try {
        std::string text(sample.size(), '\0');
        sample.copy_to(reinterpret_cast<std::uint8_t*>(text.data()));
        hand_over(door, [client = std::string(sample.name()), text](Service& service) { service.hello(client, text); });
    } catch (const std::exception&) {  // no memory: the client will say it again
        const std::lock_guard lock(door->mutex);
        --door->hellos;
    }
}

void Service::on_token(const std::shared_ptr<Door>& door, TokenChanges Door::*tokens, const net::ZenohSample& sample) {
    {
        const std::lock_guard lock(door->mutex);
        try {
            ((*door).*tokens).note(sample.name(), sample.gone(), [&](const auto& name) {
                return door->inboxes.contains(name);
            });
        } catch (const std::exception&) {  // no memory: whoever it was may be in control, and gone
            door->missed = true;
            return;
        }
        if (std::exchange(door->tokens_told, true)) return;
    }
    hand_over(door, door->telling_tokens, [](Service& service) { service.look_at_tokens(); });
}

void Service::look_at_tokens() {
    TokenChanges::ByName clients, robots;
    {
        const std::lock_guard lock(door_->mutex);
        door_->tokens_told = false;
        clients = door_->client_tokens.take();
        robots = door_->robot_tokens.take();
    }
    try {
        for (const auto& [name, change] : robots) {
            if (change.went) robot_token(name, true);
            if (change.here) robot_token(name, false);
        }
        for (const auto& [name, change] : clients) {
            if (change.went) client_token(name, true);
            if (change.here) client_token(name, false);
        }
    } catch (const std::exception&) {  // no memory, and nobody else tells of the rest
        const std::lock_guard lock(door_->mutex);
        door_->missed = true;
        throw;
    }
}

// All that shows that a documented client has gone: not to be lost for want of memory.
void Service::on_unheard(const std::shared_ptr<Door>& door) noexcept {
    if (door->unheard_told.exchange(true)) return;
    hand_over(door, door->telling_unheard, [](Service& service) {
        service.door_->unheard_told = false;
        if (const auto session = service.sessions_.find(""); session != service.sessions_.end())
            std::shared_ptr(session->second)->finish(Cause::broken, "nobody subscribes to its answers any more");
    });
}

// What comes for one who has not been let in, or not any more, is nobody's.
void Service::put(const std::shared_ptr<Door>& door, std::string_view client, const net::ZenohSample& sample,
                  const net::ZenohNote& note) {
    std::shared_ptr<Inbox> inbox;
    const TimePoint now = Clock::now();
    TimePoint arrived;
    {
        const std::lock_guard lock(door->mutex);
        const auto found = door->inboxes.find(client);
        if (found == door->inboxes.end()) return;
        inbox = found->second;
        door->arrivals.turn(now, uncounted);
        arrived = door->arrivals.arrival(now, uncounted);
    }
    inbox->put(sample, note, now, arrived);
    if (!inbox->to_be_told()) return;
    hand_over(door, inbox->telling, [inbox](Service& service) {
        inbox->told();
        if (inbox->client.empty()) service.documented_arrived();
        else service.arrived(inbox->client);
    });
}

// Zenoh's threads and this one are all that shows whether the process goes on.
void Service::beat() noexcept {
    if (!work_) return;
    bool missed = false;
    {
        const std::lock_guard lock(door_->mutex);
        door_->arrivals.turn(Clock::now(), uncounted);
        missed = std::exchange(door_->missed, false);
    }
    if (missed) {
        abort_sessions();
        look_again();
    }
    try {
        beat_.expires_after(beat_of(options));
        beat_.async_wait(net::PooledHandler(beat_memory_, [this](boost::system::error_code) { beat(); }));
    } catch (const std::exception&) {  // no memory for a timer: then without a pause
        boost::asio::post(io.get_executor(), net::PooledHandler(beat_memory_, [this] { beat(); }));
    }
}

// Who watches anew is told of all that are there. A robot whose going was missed stays known: then those that cannot choose are not
// heard, and told so, which is better than two robots that both move.
void Service::look_again() noexcept {
    try {
        watch_tokens();
        log("no memory for who came and went by Zenoh: all its clients were dropped, and whoever is there is looked for "
            "again");
    } catch (const std::exception&) {  // nor for that: with the next beat
        const std::lock_guard lock(door_->mutex);
        door_->missed = true;
    }
}

void Service::watch_tokens() {
    const auto told = [door = door_](TokenChanges Door::*tokens) {
        return [door, tokens](const net::ZenohSample& sample) { on_token(door, tokens, sample); };
    };
    std::vector<net::ZenohDeclaration> watches;
    watches.push_back(session_->watch_tokens(keys_.robot_token(net::kEveryone), told(&Door::robot_tokens)));
    watches.push_back(
        session_->watch_tokens(keys_.client_token(session_->id(), net::kEveryone), told(&Door::client_tokens)));
    token_watches_ = std::move(watches);
}

void Service::start() {
    work_.emplace(io.get_executor());
    beat();
    const std::string& me = session_->id();
    publications_.emplace(robot, *session_, keys_);
    to_documented_.emplace(session_->publish(keys_.from_robot()));
    watch_tokens();
    declarations_.push_back(session_->token(keys_.robot_token(me)));
    declarations_.push_back(session_->subscribe(
        keys_.to_robot(me, net::kEveryone), [door = door_](const net::ZenohSample& sample) { on_message(door, sample); }));
    // First of all: who cannot choose is not to be heard for the moment that it takes to see another robot.
    session_->find_tokens(keys_.robot_token(net::kEveryone), kLookAroundMs, [this](const net::ZenohSample& sample) {
        if (!sample.gone()) robot_token(std::string(sample.name()), false);
    });
    declarations_.push_back(session_->subscribe(
        keys_.to_robot(), [door = door_](const net::ZenohSample& sample) { put(door, "", sample, net::ZenohNote{}); }));
    declarations_.push_back(to_documented_->watch_matching([door = door_](bool matching) {
        if (!matching) on_unheard(door);
    }));
}

// ---- who is let in ----

void Service::client_token(const std::string& client, bool gone) {
    if (!gone) return present_.add(client, [this](const auto& each) { return sessions_.contains(each); });
    present_.remove(client);
    const auto session = sessions_.find(client);
    if (session != sessions_.end()) std::shared_ptr(session->second)->finish(Cause::broken, "its Zenoh session is gone");
}

void Service::robot_token(const std::string& other, bool gone) {
    if (other == session_->id()) return;
    const bool news = gone ? others_.erase(other) > 0 : others_.size() < kMostRemembered && others_.insert(other).second;
    if (!news) return;
    log_stranger(gone ? "robot " + net::printable(other) + " under the same Zenoh prefix is gone"
                      : "WARNING: robot " + net::printable(other) + " is under the same Zenoh prefix '" + keys_.prefix +
                            "': clients that cannot choose are not heard");
    // Nor is the one that has been heard until now: what it says would move both.
    if (const auto session = sessions_.find(""); !gone && session != sessions_.end())
        std::shared_ptr(session->second)->finish(Cause::dropped, kAnotherRobot);
}

void Service::hello(const std::string& client, const std::string& text) {
    {
        const std::lock_guard lock(door_->mutex);
        --door_->hellos;
    }
    if (stopping_ || !present_.contains(client)) return;  // it will say it again
    if (const auto session = sessions_.find(client); session != sessions_.end()) return session->second->welcome();
    if (const auto asked = net::ZenohHello::of(text)) return admit(client, *asked);
    count(stats.protocol_errors);
    refuse(client, robot::kBadPayload, "got a hello that is none");
}

void Service::admit(const std::string& client, const net::ZenohHello& hello) {
    using Wish = net::ZenohHello::Wish;
    const std::string& token = options.access.bearer_token;
    if (!token.empty() && !net::equal_in_constant_time(hello.token, token))
        return refuse(client, robot::kPolicyError, "This robot asks for a token.");
    if (sessions_.size() >= options.max_connections)
        return refuse(client, robot::kPolicyError, "There are too many clients: try again later.");
    std::unique_ptr<robot::ObservationSource::Seat> seat;
    if (hello.wish == Wish::observe) {
        seat = robot.source->take_seat();
        if (!seat)
            return refuse(client, robot::kPolicyError,
                          "All " + std::to_string(options.max_observers) +
                              " seats for observers are taken: try again when one has gone.");
    } else if (robot.hooks.busy()) {
        return refuse(client, robot::kPolicyError,
                      "The robot is still busy with what former clients asked for: try again later.");
    }
    const bool observes = seat != nullptr;
    const bool take_over = hello.wish == Wish::take_over;
    const auto inbox = std::make_shared<Inbox>(client, options.max_message_bytes);
    const auto session = std::make_shared<Session>(*this, client, inbox, std::move(seat));
    if (!observes && !session->take_control(take_over && options.allow_takeover))
        return refuse(client, robot::kPolicyError,
                      take_over ? "This robot does not let a client take over from another one."
                                : "Another client controls this robot. One client at a time: try again when it has gone.");
    sessions_.emplace(client, session);
    {
        const std::lock_guard lock(door_->mutex);
        door_->inboxes.emplace(client, inbox);
    }
    if (!start(*session, keys_.from_robot(session_->id(), client)))
        return refuse(client, robot::kPolicyError, "The robot has no means for one more client: try again later.");
    if (sessions_.contains(client)) session->welcome();
}

// False if there is no thread or no publisher for it. It is this client's loss, and nobody else's.
bool Service::start(Session& session, const std::string& answers_to) {
    try {
        session.start(session_->publish(answers_to));
        return true;
    } catch (const std::runtime_error& error) {  // std::system_error, net::ZenohError
        log_stranger(std::string("cannot serve a client by Zenoh: ") + error.what());
        session.abort();
        return false;
    }
}

void Service::refuse(const std::string& client, std::uint16_t code, const std::string& why) {
    count(stats.refused);
    log_stranger("refused client " + net::printable(client) + " by Zenoh: " + why);
    const auto words = std::make_shared<std::string>(why);
    Sender::Message message;
    message.pieces.push_back({reinterpret_cast<const std::uint8_t*>(words->data()), words->size()});
    message.note = net::ZenohNote{net::ZenohNote::Kind::end, code, 0, 0}.encoded();
    message.keeps = words;
    if (senders_.size() >= options.max_connections) return;  // too many are being told already
    try {
        Sender& once = sender(session_->publish(keys_.from_robot(session_->id(), client)));
        const EndingSender ends(&once);  // also where there is no memory to send
        once.send(std::move(message));
    } catch (const std::runtime_error& error) {  // it will ask again
        log_stranger("which it was not told: " + std::string(error.what()));
    }
}

void Service::arrived(const std::string& client) {
    if (const auto session = sessions_.find(client); session != sessions_.end()) std::shared_ptr(session->second)->read();
}

void Service::documented_arrived() {
    if (sessions_.contains("")) return arrived("");
    const std::shared_ptr<Inbox> inbox = door_->inboxes.find("")->second;
    const auto turn_away = [&](const std::string& why) {
        inbox->clear();
        count(stats.refused);
        log_stranger("refused a client by Zenoh without a name: " + why);
    };
    if (stopping_ || inbox->empty()) return inbox->clear();  // cleared since, or nothing of it fitted
    if (!options.access.bearer_token.empty()) return turn_away("this robot asks for a token");
    if (!others_.empty()) return turn_away(kAnotherRobot);
    if (robot.hooks.busy()) return turn_away("the hooks are busy with former clients");
    if (may_act_first_ != robot.control.begun() && !inbox->drop_until_it_begins())
        return turn_away(
            "it has asked for neither metadata nor a reset since the robot began to serve, the one before lost control or "
            "another had it");
    const auto session = std::make_shared<Session>(*this, "", inbox, nullptr);
    if (!session->take_control(false)) return turn_away("a client is connected already");
    sessions_.emplace("", session);
    if (!start(*session, keys_.from_robot())) return turn_away("there are no means for it");
    session->read();
}

void Service::leave(const std::string& client, bool went) {
    sessions_.erase(client);
    if (client.empty()) may_act_first_ = went ? std::optional(robot.control.begun()) : std::nullopt;
    const std::lock_guard lock(door_->mutex);
    if (!client.empty()) door_->inboxes.erase(client);
    else door_->inboxes.find("")->second->clear();  // nobody is to act on what it left
}

void Service::log_stranger(const std::string& line) {
    const TimePoint now = Clock::now();
    if (!stranger_lines_.allows(now)) return;
    stranger_lines_.spend(now);
    log(line);
}

// ---- senders ----

Sender& Service::sender(net::ZenohPublisher publisher) {
    struct End {
        Sender* of{nullptr};  // of the network thread
        net::HandlerMemory memory;
    };
    const auto end = std::make_shared<End>();
    auto made = std::make_unique<Sender>(std::move(publisher), [door = door_, end] {
        hand_over(door, end->memory, [end](Service& service) { service.sender_ended(end->of); });
    });
    Sender& known = *senders_.emplace(made.get(), std::move(made)).first->second;
    end->of = &known;
    return known;
}

void Service::sender_ended(Sender* sender) {
    senders_.erase(sender);
    if (stopping_ && senders_.empty()) let_loop_end();
}

}  // namespace chiral::zenoh
