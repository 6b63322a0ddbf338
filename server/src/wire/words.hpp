// SPDX-License-Identifier: Apache-2.0
// The words that stand on the wire for the values of Want's enumerations: the one table that encoders and decoders share.
#pragma once

#include <chiral/want.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace chiral::wire {

template <class Enum>
inline constexpr std::array<std::string_view, 0> words{};
template <>
inline constexpr std::array<std::string_view, 3> words<Fit>{"stretch", "crop", "pad"};
template <>
inline constexpr std::array<std::string_view, 2> words<ColourOrder>{"rgb", "bgr"};
template <>
inline constexpr std::array<std::string_view, 5> words<ImageEncoding>{"none", "raw", "jpeg", "png", "zstd"};
template <>
inline constexpr std::array<std::string_view, 5> words<DepthEncoding>{"none", "raw", "lossless", "millimetres",
                                                                      "millimetres_png"};

template <class Enum>
constexpr std::string_view word(Enum value) noexcept {
    return words<Enum>[static_cast<std::size_t>(value)];
}

template <class Enum>
std::optional<Enum> from_word(std::string_view text) noexcept {
    for (std::size_t i = 0; i < words<Enum>.size(); ++i)
        if (words<Enum>[i] == text) return static_cast<Enum>(i);
    return std::nullopt;
}

/// "stretch, crop or pad"
template <class Enum>
std::string words_of() {
    std::string text;
    for (std::size_t i = 0; i < words<Enum>.size(); ++i)
        text += (i == 0 ? "" : i + 1 == words<Enum>.size() ? " or " : ", ") + std::string(words<Enum>[i]);
    return text;
}

}  // namespace chiral::wire
