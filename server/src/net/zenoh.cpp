// SPDX-License-Identifier: Apache-2.0
#include "net/zenoh.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

namespace chiral::net {

namespace {

// Where a function of the library writes why it failed.
class Why {
public:
    operator chiral_zenoh_error() noexcept { return {text_.data(), text_.size()}; }
    [[noreturn]] void raise(const std::string& what) const {
        // Zenoh adds where in its sources that was, on the machine that compiled it.
        const std::string_view text(text_.data());
        throw ZenohError("Zenoh: " + what + ": " + std::string(text.substr(0, text.find(" at /"))));
    }
    template <class Handle>
    Handle* checked(Handle* handle, const std::string& what) const {
        if (handle == nullptr) raise(what);
        return handle;
    }

private:
    std::array<char, 512> text_{};
};

template <class Function>
void drop_function(void* context) {
    delete static_cast<Function*>(context);
}

// Nothing may unwind into Zenoh. Only memory can be short: what the callback was told of is lost, as it might be on the way.
template <class Call>
void guarded(Call&& call) noexcept {
    try {
        call();
    } catch (const std::exception&) {}
}

chiral_zenoh_on_sample callback(OnZenohSample on_sample) {
    const auto call = [](void* context, const chiral_zenoh_sample* sample) {
        guarded([&] { (*static_cast<OnZenohSample*>(context))(ZenohSample(*sample)); });
    };
    return {call, drop_function<OnZenohSample>, new OnZenohSample(std::move(on_sample))};
}

using Keeps = std::shared_ptr<void>;

}  // namespace

std::string_view ZenohSample::key() const noexcept {
    return {reinterpret_cast<const char*>(sample_.key.data), sample_.key.size};
}

std::string_view ZenohSample::name() const noexcept {
    const std::string_view all = key();
    return all.substr(all.rfind('/') + 1);  // npos + 1 is 0
}

std::size_t ZenohSample::size() const noexcept {
    std::size_t total = 0;
    for (std::size_t i = 0; i < sample_.piece_count; ++i) total += sample_.pieces[i].size;
    return total;
}

void ZenohSample::copy_to(std::uint8_t* memory) const noexcept {
    for (std::size_t i = 0; i < sample_.piece_count; ++i) {
        if (sample_.pieces[i].size == 0) continue;
        std::memcpy(memory, sample_.pieces[i].data, sample_.pieces[i].size);
        memory += sample_.pieces[i].size;
    }
}

void ZenohPublisher::put(std::span<const chiral_zenoh_bytes> pieces, std::span<const std::uint8_t> attachment,
                         std::shared_ptr<void> keeps) const {
    Why why;
    auto* context = new Keeps(std::move(keeps));
    if (chiral_zenoh_put(publisher_.get(), pieces.data(), pieces.size(), {attachment.data(), attachment.size()},
                         drop_function<Keeps>, context, why) == 0)
        why.raise("nothing sent");
}

void ZenohPublisher::put(std::span<const std::uint8_t> message, std::span<const std::uint8_t> attachment) const {
    const auto copy = std::make_shared<std::vector<std::uint8_t>>(message.begin(), message.end());
    const chiral_zenoh_bytes piece{copy->data(), copy->size()};
    put({&piece, 1}, attachment, copy);
}

ZenohDeclaration ZenohPublisher::watch_matching(std::function<void(bool)> on_matching) const {
    using Function = std::function<void(bool)>;
    const auto call = [](void* context, int matching) {
        guarded([&] { (*static_cast<Function*>(context))(matching != 0); });
    };
    Why why;
    return ZenohDeclaration(
        why.checked(chiral_zenoh_watch_matching(publisher_.get(),
                                                {call, drop_function<Function>, new Function(std::move(on_matching))}, why),
                    "cannot watch who subscribes"));
}

ZenohSession::ZenohSession(const std::string& config, const std::string& config_file) {
    Why why;
    session_.reset(why.checked(chiral_zenoh_open(config.c_str(), config_file.empty() ? nullptr : config_file.c_str(), why),
                               "no session"));
    std::array<char, 33> id{};
    chiral_zenoh_id(session_.get(), id.data());
    id_ = id.data();
}

ZenohPublisher ZenohSession::publish(const std::string& key, bool drops) const {
    Why why;
    return ZenohPublisher(
        why.checked(chiral_zenoh_publish(session_.get(), key.c_str(), drops, why), "cannot publish " + key));
}

ZenohDeclaration ZenohSession::subscribe(const std::string& keys, OnZenohSample on_sample) const {
    Why why;
    return ZenohDeclaration(
        why.checked(chiral_zenoh_subscribe(session_.get(), keys.c_str(), callback(std::move(on_sample)), why),
                    "cannot subscribe " + keys));
}

ZenohDeclaration ZenohSession::token(const std::string& key) const {
    Why why;
    return ZenohDeclaration(
        why.checked(chiral_zenoh_token(session_.get(), key.c_str(), why), "cannot declare the token " + key));
}

ZenohDeclaration ZenohSession::watch_tokens(const std::string& keys, OnZenohSample on_sample) const {
    Why why;
    return ZenohDeclaration(
        why.checked(chiral_zenoh_watch_tokens(session_.get(), keys.c_str(), callback(std::move(on_sample)), why),
                    "cannot watch the tokens " + keys));
}

void ZenohSession::find_tokens(const std::string& keys, std::uint64_t timeout_ms, OnZenohSample on_sample) const {
    Why why;
    if (chiral_zenoh_find_tokens(session_.get(), keys.c_str(), timeout_ms, callback(std::move(on_sample)), why) == 0)
        why.raise("cannot look for the tokens " + keys);
}

}  // namespace chiral::net
