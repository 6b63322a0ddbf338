// SPDX-License-Identifier: Apache-2.0
#include "want_text.hpp"

#include <charconv>
#include <map>
#include <sstream>
#include <stdexcept>

namespace chiral::tools {
namespace {

[[noreturn]] void refuse(const std::string& word) {
    throw std::invalid_argument(
        "--want: '" + word +
        "' is not known; expected WIDTHxHEIGHT, stretch, crop, pad, none, raw, jpeg, jpeg:QUALITY, png, "
        "zstd, rgb, bgr, depth:none, depth:raw, depth:lossless, depth:millimetres, "
        "depth:millimetres_png or newer");
}

int number(const std::string& text, const std::string& word) {
    int value = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || rest != text.data() + text.size() || value < 1) refuse(word);
    return value;
}

// Sets `to` if the word is one of the table.
template <class Value>
bool known(const std::map<std::string, Value>& table, const std::string& word, Value& to) {
    const auto found = table.find(word);
    if (found != table.end()) to = found->second;
    return found != table.end();
}

void take_word(const std::string& word, Want& want) {
    static const std::map<std::string, Fit> fits{{"stretch", Fit::stretch}, {"crop", Fit::crop}, {"pad", Fit::pad}};
    static const std::map<std::string, ColourOrder> orders{{"rgb", ColourOrder::rgb}, {"bgr", ColourOrder::bgr}};
    static const std::map<std::string, ImageEncoding> images{{"none", ImageEncoding::none},
                                                             {"raw", ImageEncoding::raw},
                                                             {"jpeg", ImageEncoding::jpeg},
                                                             {"png", ImageEncoding::png},
                                                             {"zstd", ImageEncoding::zstd}};
    static const std::map<std::string, DepthEncoding> depths{{"depth:none", DepthEncoding::none},
                                                             {"depth:raw", DepthEncoding::raw},
                                                             {"depth:lossless", DepthEncoding::lossless},
                                                             {"depth:millimetres", DepthEncoding::millimetres},
                                                             {"depth:millimetres_png", DepthEncoding::millimetres_png}};
    CameraWish& wish = want.all;
    if (known(fits, word, wish.fit) || known(orders, word, wish.order) || known(images, word, wish.image) ||
        known(depths, word, wish.depth))
        return;
    if (word == "newer") {
        want.only_if_newer = true;
    } else if (word.starts_with("jpeg:")) {
        wish.image = ImageEncoding::jpeg;
        wish.quality = number(word.substr(5), word);
    } else if (const std::size_t by = word.find('x'); by != std::string::npos) {
        wish.size = {number(word.substr(by + 1), word), number(word.substr(0, by), word)};
    } else {
        refuse(word);
    }
}

}  // namespace

Want parse_want(const std::string& text) {
    Want want;
    std::istringstream words(text);
    for (std::string word; std::getline(words, word, ',');) take_word(word, want);
    return want;
}

}  // namespace chiral::tools
