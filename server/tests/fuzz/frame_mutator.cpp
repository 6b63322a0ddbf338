// SPDX-License-Identifier: Apache-2.0
// Lets libFuzzer change the header or the payload of a frame and keeps the header length right, without which hardly a
// changed message would get beyond the first check.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
    if (size < 4 || max_size < 8 || seed % 16 == 0) return LLVMFuzzerMutate(data, size, max_size);
    std::uint32_t announced = 0;
    std::memcpy(&announced, data, sizeof announced);
    const std::size_t header = std::min<std::size_t>(announced, size - 4);
    const bool change_payload = seed % 8 == 1;
    std::vector<std::uint8_t> kept(data, data + size);
    const auto keep = change_payload ? std::span(kept).subspan(4, header) : std::span(kept).subspan(4 + header);
    std::vector<std::uint8_t> changed(max_size - 4 - keep.size());
    const std::size_t old_size = change_payload ? size - 4 - header : header;
    if (changed.empty()) return LLVMFuzzerMutate(data, size, max_size);
    std::copy_n(kept.data() + (change_payload ? 4 + header : 4), old_size, changed.data());
    changed.resize(LLVMFuzzerMutate(changed.data(), old_size, changed.size()));

    const auto length = static_cast<std::uint32_t>(change_payload ? header : changed.size());
    std::memcpy(data, &length, sizeof length);
    std::uint8_t* end = data + 4;
    const auto write = [&end](const auto& part) { end = std::copy(part.begin(), part.end(), end); };
    if (change_payload) write(keep);
    write(changed);
    if (!change_payload) write(keep);
    return 4 + keep.size() + changed.size();
}
