// SPDX-License-Identifier: Apache-2.0
#include "zenoh_in_memory.hpp"

#include "net/thread_name.hpp"
#include "support/waiting.hpp"

#include <chiral_zenoh.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>
#include <thread>

namespace {

using Bytes = std::vector<std::uint8_t>;

std::vector<std::string_view> parts_of(std::string_view key) {
    std::vector<std::string_view> parts;
    for (;;) {
        const std::size_t end = std::min(key.find('/'), key.size());
        parts.push_back(key.substr(0, end));
        if (end == key.size()) return parts;
        key.remove_prefix(end + 1);
    }
}

// * is one part, ** any number of them; parts that begin with @ are matched by neither.
bool matches(const std::vector<std::string_view>& keys, std::size_t i, const std::vector<std::string_view>& key,
             std::size_t j) {
    if (i == keys.size()) return j == key.size();
    if (keys[i] == "**")
        return matches(keys, i + 1, key, j) || (j < key.size() && !key[j].starts_with('@') && matches(keys, i, key, j + 1));
    if (j == key.size()) return false;
    return (keys[i] == key[j] || (keys[i] == "*" && !key[j].starts_with('@'))) && matches(keys, i + 1, key, j + 1);
}
bool matches(const std::string& keys, const std::string& key) { return matches(parts_of(keys), 0, parts_of(key), 0); }

void write(chiral_zenoh_error error, const std::string& text) {
    const std::size_t size = std::min(text.size(), error.size - 1);
    std::memcpy(error.text, text.data(), size);
    error.text[size] = '\0';
}

// A callback of ours; its context goes with the last copy.
class OnSample {
public:
    explicit OnSample(const chiral_zenoh_on_sample& function)
        : context_(function.context, function.drop), call_(function.call) {}
    void operator()(const std::string& key, const Bytes& payload, const Bytes& attachment, bool gone) const {
        // In pieces, as Zenoh delivers.
        const std::size_t half = payload.size() / 2;
        const chiral_zenoh_bytes pieces[] = {{payload.data(), half}, {payload.data() + half, payload.size() - half}};
        const chiral_zenoh_sample sample{{reinterpret_cast<const std::uint8_t*>(key.data()), key.size()},
                                         {attachment.data(), attachment.size()},
                                         pieces,
                                         2,
                                         gone};
        call_(context_.get(), &sample);
    }

private:
    std::shared_ptr<void> context_;
    void (*call_)(void*, const chiral_zenoh_sample*);
};

struct Network {
    std::mutex mutex;  // guards all
    std::condition_variable changed;
    std::vector<std::string> sessions;
    std::set<std::string> cut;
    std::string stalled, without_publishers;
    bool keeps_pieces{false};
    std::vector<std::function<void()>> kept;
    std::function<bool(const std::string&)> may_subscribe;
    std::vector<chiral::test::zenoh_network::Passed> passed;
    std::deque<std::function<void()>> due;
    bool ending{false}, delivering{false};

    struct Subscription {
        std::string session, keys;
        std::shared_ptr<OnSample> on_sample;
    };
    struct Token {
        std::string session, key;
    };
    struct Matching {
        std::string key;
        bool was;
        std::shared_ptr<void> context;
        void (*call)(void*, int);
    };
    std::map<int, Subscription> subscriptions;
    std::map<int, Subscription> watches;
    std::map<int, Token> tokens;
    std::map<int, Matching> matchings;
    int next{0};
    std::thread thread{[this] { deliver(); }};

    ~Network() {
        {
            const std::lock_guard lock(mutex);
            ending = true;
            changed.notify_all();
        }
        thread.join();
    }
    void deliver() {
        chiral::net::name_this_thread("zenoh-network");
        std::unique_lock lock(mutex);
        for (;;) {
            changed.wait(lock, [&] { return ending || !due.empty(); });
            if (due.empty()) return;
            const auto next_one = std::move(due.front());
            due.pop_front();
            delivering = true;
            lock.unlock();
            next_one();
            lock.lock();
            delivering = false;
            changed.notify_all();
        }
    }

    // With the mutex held:

    void later(std::function<void()> function) {
        due.push_back(std::move(function));
        changed.notify_all();
    }
    // Of a publisher's key, which may end in /**: then to any that begins so.
    bool subscribed(const std::string& key) const {
        const bool any = key.ends_with("/**");
        const std::string begin = key.substr(0, key.size() - 2);
        return std::any_of(subscriptions.begin(), subscriptions.end(), [&](const auto& entry) {
            return (any ? entry.second.keys.starts_with(begin) : matches(entry.second.keys, key)) &&
                   !cut.contains(entry.second.session);
        });
    }
    void look_for_matches() {
        for (auto& [id, matching] : matchings) {
            const bool is = subscribed(matching.key);
            if (is == matching.was) continue;
            matching.was = is;
            later([context = matching.context, call = matching.call, is] { call(context.get(), is); });
        }
    }
    void tell_of_token(const Token& token, bool gone) {
        for (const auto& [id, watch] : watches)
            if (matches(watch.keys, token.key) && !cut.contains(watch.session))
                later([on_sample = watch.on_sample, key = token.key, gone] { (*on_sample)(key, {}, {}, gone); });
    }
    bool visible(const Token& token) const { return !cut.contains(token.session); }
};

Network& network() {
    static Network the_network;
    return the_network;
}

}  // namespace

struct chiral_zenoh_session {
    std::string id;
};
struct chiral_zenoh_publisher {
    std::string session, key;
};
struct chiral_zenoh_declaration {
    int id;
};

extern "C" {

chiral_zenoh_session* chiral_zenoh_open(const char* config, const char* config_file, chiral_zenoh_error error) {
    Network& net = network();
    const std::lock_guard lock(net.mutex);
    if (config_file != nullptr || std::string_view(config).find("multicast: {enabled: false}") == std::string_view::npos) {
        write(error, "the network in memory has no files and no scouting");
        return nullptr;
    }
    char id[33];
    std::snprintf(id, sizeof id, "%032zx", net.sessions.size() + 1);
    net.sessions.emplace_back(id);
    return new chiral_zenoh_session{id};
}

void chiral_zenoh_close(chiral_zenoh_session* session) {
    chiral::test::zenoh_network::cut(session->id);
    delete session;
}

void chiral_zenoh_id(const chiral_zenoh_session* session, char id[33]) { std::memcpy(id, session->id.c_str(), 33); }

chiral_zenoh_publisher* chiral_zenoh_publish(const chiral_zenoh_session* session, const char* key, int,
                                             chiral_zenoh_error error) {
    Network& net = network();
    const std::lock_guard lock(net.mutex);
    if (!net.without_publishers.empty() && std::string_view(key).starts_with(net.without_publishers)) {
        write(error, "no publisher for this key");
        return nullptr;
    }
    return new chiral_zenoh_publisher{session->id, key};
}

int chiral_zenoh_put(const chiral_zenoh_publisher* publisher, const chiral_zenoh_bytes* pieces, size_t piece_count,
                     chiral_zenoh_bytes attachment, void (*released)(void*), void* context, chiral_zenoh_error error) {
    Network& net = network();
    chiral::test::zenoh_network::Passed message{publisher->key, {}, {}, {}};
    if (attachment.size > 0) message.attachment.assign(attachment.data, attachment.data + attachment.size);
    std::unique_lock lock(net.mutex);
    net.changed.wait(lock, [&] { return net.stalled.empty() || !publisher->key.starts_with(net.stalled); });
    for (size_t i = 0; i < piece_count; ++i) {  // only now: they are borrowed as long as it is blocked
        message.payload.insert(message.payload.end(), pieces[i].data, pieces[i].data + pieces[i].size);
        message.pieces.push_back(pieces[i].data);
    }
    const bool is_cut = net.cut.contains(publisher->session);
    for (const auto& [id, subscription] : net.subscriptions)
        if (!is_cut && matches(subscription.keys, message.key) && !net.cut.contains(subscription.session))
            net.later([on_sample = subscription.on_sample, message] {
                (*on_sample)(message.key, message.payload, message.attachment, false);
            });
    net.passed.push_back(std::move(message));
    net.changed.notify_all();
    const bool kept = net.keeps_pieces;
    if (kept) net.kept.emplace_back([=] { released(context); });
    lock.unlock();
    if (!kept) released(context);
    if (is_cut) write(error, "the session is closed");
    return is_cut ? 0 : 1;
}

int chiral_zenoh_matching(const chiral_zenoh_publisher* publisher) {
    Network& net = network();
    const std::lock_guard lock(net.mutex);
    return net.subscribed(publisher->key);
}

void chiral_zenoh_unpublish(chiral_zenoh_publisher* publisher) { delete publisher; }

chiral_zenoh_declaration* chiral_zenoh_subscribe(const chiral_zenoh_session* session, const char* keys,
                                                 chiral_zenoh_on_sample on_sample, chiral_zenoh_error error) {
    Network& net = network();
    const auto call = std::make_shared<OnSample>(on_sample);
    std::unique_lock lock(net.mutex);
    if (const auto may = net.may_subscribe) {
        lock.unlock();  // it may do whatever it likes
        if (!may(keys)) {
            write(error, "no subscription to this key");
            return nullptr;
        }
        lock.lock();
    }
    net.subscriptions.emplace(++net.next, Network::Subscription{session->id, keys, call});
    net.look_for_matches();
    return new chiral_zenoh_declaration{net.next};
}

chiral_zenoh_declaration* chiral_zenoh_watch_matching(const chiral_zenoh_publisher* publisher,
                                                      chiral_zenoh_on_matching on_matching, chiral_zenoh_error) {
    Network& net = network();
    const std::lock_guard lock(net.mutex);
    net.matchings.emplace(++net.next,
                          Network::Matching{publisher->key, net.subscribed(publisher->key),
                                            std::shared_ptr<void>(on_matching.context, on_matching.drop), on_matching.call});
    return new chiral_zenoh_declaration{net.next};
}

chiral_zenoh_declaration* chiral_zenoh_token(const chiral_zenoh_session* session, const char* key, chiral_zenoh_error) {
    Network& net = network();
    const std::lock_guard lock(net.mutex);
    const auto& token = net.tokens.emplace(++net.next, Network::Token{session->id, key}).first->second;
    net.tell_of_token(token, false);
    return new chiral_zenoh_declaration{net.next};
}

chiral_zenoh_declaration* chiral_zenoh_watch_tokens(const chiral_zenoh_session* session, const char* keys,
                                                    chiral_zenoh_on_sample on_sample, chiral_zenoh_error) {
    Network& net = network();
    const std::lock_guard lock(net.mutex);
    const auto& watch =
        net.watches.emplace(++net.next, Network::Subscription{session->id, keys, std::make_shared<OnSample>(on_sample)})
            .first->second;
    for (const auto& [id, token] : net.tokens)
        if (net.visible(token) && matches(watch.keys, token.key))
            net.later([call = watch.on_sample, key = token.key] { (*call)(key, {}, {}, false); });
    return new chiral_zenoh_declaration{net.next};
}

int chiral_zenoh_find_tokens(const chiral_zenoh_session*, const char* keys, uint64_t, chiral_zenoh_on_sample on_sample,
                             chiral_zenoh_error) {
    const OnSample call(on_sample);
    std::vector<std::string> found;
    {
        Network& net = network();
        const std::lock_guard lock(net.mutex);
        for (const auto& [id, token] : net.tokens)
            if (net.visible(token) && matches(keys, token.key)) found.push_back(token.key);
    }
    for (const std::string& key : found) call(key, {}, {}, false);
    return 1;
}

void chiral_zenoh_undeclare(chiral_zenoh_declaration* declaration) {
    Network& net = network();
    std::unique_lock lock(net.mutex);
    if (const auto token = net.tokens.find(declaration->id); token != net.tokens.end()) {
        const Network::Token was = token->second;
        net.tokens.erase(token);
        if (net.visible(was)) net.tell_of_token(was, true);
    }
    const auto subscription = net.subscriptions.extract(declaration->id);
    const auto watch = net.watches.extract(declaration->id);
    const auto matching = net.matchings.extract(declaration->id);
    net.look_for_matches();
    lock.unlock();  // what the callbacks hold goes now
    delete declaration;
}

}  // extern "C"

namespace chiral::test::zenoh_network {

std::vector<Passed> passed() {
    const std::lock_guard lock(network().mutex);
    return network().passed;
}

bool delivered(std::size_t messages) {
    Network& net = network();
    std::unique_lock lock(net.mutex);
    return net.changed.wait_for(lock, kDeadline,
                                [&] { return net.passed.size() >= messages && net.due.empty() && !net.delivering; });
}

void repeat(const Passed& message) {
    Network& net = network();
    const std::lock_guard lock(net.mutex);
    for (const auto& [id, subscription] : net.subscriptions)
        if (matches(subscription.keys, message.key))
            net.later([on_sample = subscription.on_sample, message] {
                (*on_sample)(message.key, message.payload, message.attachment, false);
            });
}

void reset() {
    stall("");
    keep_pieces(false);
    refuse_publishers("");
    ask_before_subscribing(nullptr);
    const std::lock_guard lock(network().mutex);
    network().passed.clear();
}

void stall(const std::string& key_prefix) {
    const std::lock_guard lock(network().mutex);
    network().stalled = key_prefix;
    network().changed.notify_all();
}

void keep_pieces(bool keep) {
    std::vector<std::function<void()>> kept;
    {
        const std::lock_guard lock(network().mutex);
        network().keeps_pieces = keep;
        if (!keep) kept.swap(network().kept);
    }
    for (const auto& let_go : kept) let_go();
}

void refuse_publishers(const std::string& key_prefix) {
    const std::lock_guard lock(network().mutex);
    network().without_publishers = key_prefix;
}

void ask_before_subscribing(std::function<bool(const std::string&)> may) {
    const std::lock_guard lock(network().mutex);
    network().may_subscribe = std::move(may);
}

void cut(const std::string& session) {
    Network& net = network();
    const std::lock_guard lock(net.mutex);
    if (!net.cut.insert(session).second) return;
    for (const auto& [id, token] : net.tokens)
        if (token.session == session) net.tell_of_token(token, true);
    net.look_for_matches();
}

std::vector<std::string> sessions() {
    const std::lock_guard lock(network().mutex);
    return network().sessions;
}

struct Peer::State {
    chiral_zenoh_session* session;
    std::vector<chiral_zenoh_declaration*> declarations;
};

Peer::Peer(const std::string& listens_to, std::function<void(Bytes)> on_message) {
    using Function = std::function<void(Bytes)>;
    char text[64];
    const chiral_zenoh_error error{text, sizeof text};
    auto* const session = chiral_zenoh_open("multicast: {enabled: false}", nullptr, error);
    const auto call = [](void* context, const chiral_zenoh_sample* sample) {
        Bytes message;
        for (std::size_t i = 0; i < sample->piece_count; ++i)
            message.insert(message.end(), sample->pieces[i].data, sample->pieces[i].data + sample->pieces[i].size);
        (*static_cast<Function*>(context))(std::move(message));
    };
    const auto drop = [](void* context) { delete static_cast<Function*>(context); };
    state_ = new State{
        session,
        {chiral_zenoh_subscribe(session, listens_to.c_str(), {call, drop, new Function(std::move(on_message))}, error)}};
}

Peer::~Peer() {
    for (chiral_zenoh_declaration* declaration : state_->declarations) chiral_zenoh_undeclare(declaration);
    static_cast<void>(delivered(0));  // on_message uses what goes next
    chiral_zenoh_close(state_->session);
    delete state_;
}

void Peer::show(const std::string& token) {
    char text[64];
    state_->declarations.push_back(chiral_zenoh_token(state_->session, token.c_str(), {text, sizeof text}));
}

void Peer::put(const std::string& key, const Bytes& message, const Bytes& attachment) {
    char text[64];
    const chiral_zenoh_error error{text, sizeof text};
    auto* const publisher = chiral_zenoh_publish(state_->session, key.c_str(), 0, error);
    const chiral_zenoh_bytes piece{message.data(), message.size()};
    chiral_zenoh_put(
        publisher, &piece, 1, {attachment.data(), attachment.size()}, [](void*) {}, nullptr, error);
    chiral_zenoh_unpublish(publisher);
}

}  // namespace chiral::test::zenoh_network
