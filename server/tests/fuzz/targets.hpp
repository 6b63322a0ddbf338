// SPDX-License-Identifier: Apache-2.0
// What is fuzzed: one function per target, which takes any bytes and throws a PropertyViolated if the code under test does
// not keep what it promises about them. libFuzzer calls them with bytes of its own (tools/fuzz), and fuzz_replay_test with
// the seeds and with all that ever went wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace chiral::fuzz {

using Bytes = std::span<const std::uint8_t>;

void header(Bytes bytes);                ///< the MessagePack values of a header
void frame(Bytes bytes);                 ///< how a message falls into header length, header and payload
void request(Bytes bytes);               ///< what a server decodes
void metadata_response(Bytes bytes);     ///< what a client decodes: metadata
void observation_response(Bytes bytes);  ///< what a client decodes: observations, and what reset and step add to them
void uri(Bytes bytes);                   ///< the address that a client is given
void jpeg(Bytes bytes);                  ///< pictures that a client decodes
void png(Bytes bytes);                   ///< pictures, and depth in millimetres
void zstd(Bytes bytes);                  ///< pictures, and depth of both kinds
void want(Bytes bytes);                  ///< what a client wants, made and unpacked
void wanted_response(Bytes bytes);       ///< what a client makes plain arrays of

struct Target {
    const char* name;
    void (*check)(Bytes);
};

inline constexpr Target all_targets[] = {
    {"header", header},
    {"frame", frame},
    {"request", request},
    {"metadata_response", metadata_response},
    {"observation_response", observation_response},
    {"uri", uri},
    {"jpeg", jpeg},
    {"png", png},
    {"zstd", zstd},
    {"want", want},
    {"wanted_response", wanted_response},
};

}  // namespace chiral::fuzz
