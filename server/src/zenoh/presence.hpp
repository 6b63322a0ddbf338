// SPDX-License-Identifier: Apache-2.0
// Who is seen on the network by liveliness tokens. Strangers can show any number of these: what they make us remember is bounded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace chiral::zenoh {

/// The most of what strangers can make us remember.
inline constexpr std::size_t kMostRemembered = 1024;

/// Tokens that came or went since the last look. However often one does, it is one entry; of too many that have not been let in,
/// one is forgotten.
class TokenChanges {
public:
    struct Change {
        bool went{false}, here{false};
    };
    using ByName = std::map<std::string, Change, std::less<>>;

    template <class LetIn>
    void note(std::string_view name, bool gone, LetIn let_in) {
        constexpr std::size_t longest = 32;  // of an id
        if (name.size() > longest) return;
        auto change = changes_.find(name);
        if (change == changes_.end()) {
            if (changes_.size() >= kMostRemembered) {
                const auto stranger =
                    std::find_if(changes_.begin(), changes_.end(), [&](const auto& each) { return !let_in(each.first); });
                if (stranger != changes_.end()) changes_.erase(stranger);
            }
            change = changes_.emplace(name, Change{}).first;
        }
        change->second.here = !gone;
        change->second.went |= gone;
    }
    ByName take() { return std::exchange(changes_, {}); }

private:
    ByName changes_;
};

/// Clients that are seen. Of too many, the one goes that came first of those who have not been let in: it has had the most time for
/// its hello.
class SeenClients {
public:
    template <class LetIn>
    void add(const std::string& client, LetIn let_in) {
        const auto [known, is_new] = ages_.try_emplace(client, last_ + 1);
        if (!is_new) return;
        try {
            by_age_.emplace(++last_, client);
        } catch (const std::bad_alloc&) {
            ages_.erase(known);
            throw;
        }
        if (ages_.size() <= kMostRemembered) return;
        const auto first =
            std::find_if(by_age_.begin(), by_age_.end(), [&](const auto& each) { return !let_in(each.second); });
        if (first == by_age_.end()) return;
        ages_.erase(first->second);
        by_age_.erase(first);
    }
    void remove(const std::string& client) {
        const auto known = ages_.find(client);
        if (known == ages_.end()) return;
        by_age_.erase(known->second);
        ages_.erase(known);
    }
    bool contains(const std::string& client) const { return ages_.contains(client); }

private:
    std::map<std::string, std::uint64_t> ages_;
    std::map<std::uint64_t, std::string> by_age_;
    std::uint64_t last_{0};
};

}  // namespace chiral::zenoh
