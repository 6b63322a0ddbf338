// SPDX-License-Identifier: Apache-2.0
// A Zenoh network within the process, in the place of the library: the adapters are tested with it under sanitizers, which
// could see nothing of Zenoh itself, and it does on demand what a network does by chance.
//
// As with Zenoh, callbacks come on a thread of the network's own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace chiral::test::zenoh_network {

/// What was put, in order, as far as it was delivered or lost since the last reset().
struct Passed {
    std::string key;
    std::vector<std::uint8_t> payload, attachment;
    std::vector<const std::uint8_t*> pieces;  // where the payload lay
};
std::vector<Passed> passed();

/// Waits until so many were put since then, and all that was put has been delivered. False if that takes too long.
bool delivered(std::size_t messages);

/// Delivers it again.
void repeat(const Passed& message);
/// Ends what the functions below have begun, and forgets what has passed. Sessions stay.
void reset();
/// From now on, puts under keys that begin so block, until it is called with no key or reset().
void stall(const std::string& key_prefix);
/// From now on, what was put is delivered and its pieces are not let go of, until it is called with false or reset().
void keep_pieces(bool keep);
/// From now on, nobody gets a publisher for a key that begins so, until it is called with no key or reset().
void refuse_publishers(const std::string& key_prefix);
/// From now on, asked at each subscription whether there is one, until it is called with nothing or reset().
void ask_before_subscribing(std::function<bool(const std::string& keys)> may);
/// The links of all sessions but one are cut: tokens go, and nothing is delivered to or from them.
void cut(const std::string& session);
/// Every session's id, in the order in which they were opened.
std::vector<std::string> sessions();

/// A peer that the test plays itself, as the documented programs do: with the two keys, and without tokens and notes. Or a
/// stranger, who may do anything.
class Peer {
public:
    Peer(const std::string& listens_to, std::function<void(std::vector<std::uint8_t>)> on_message);
    ~Peer();
    Peer(const Peer&) = delete;
    void put(const std::string& key, const std::vector<std::uint8_t>& message,
             const std::vector<std::uint8_t>& attachment = {});
    /// A token, as long as the peer is there.
    void show(const std::string& token);

private:
    struct State;
    State* state_;
};

}  // namespace chiral::test::zenoh_network
