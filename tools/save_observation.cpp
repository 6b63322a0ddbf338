// SPDX-License-Identifier: Apache-2.0
#include "save_observation.hpp"

#include "slots_in_extra.hpp"

#include <chiral/dtype.hpp>

#include <fmt/format.h>
#include <png.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace chiral::tools {

namespace {

struct Picture {
    png_uint_32 width, height;
    int bit_depth;   // 8 or 16
    int color_type;  // as libpng names it
    std::size_t row_bytes;
    const std::uint8_t* rows;
};

void keep_message(png_structp png, png_const_charp message) {
    *static_cast<std::string*>(png_get_error_ptr(png)) = message;
    longjmp(png_jmpbuf(png), 1);
}
void ignore_warning(png_structp, png_const_charp) {}

// libpng reports errors by longjmp: nothing in here has a destructor.
bool write_png(std::FILE* file, const Picture& picture, std::string* error) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, error, keep_message, ignore_warning);
    png_infop info = png != nullptr ? png_create_info_struct(png) : nullptr;
    if (info == nullptr || setjmp(png_jmpbuf(png)) != 0) {
        png_destroy_write_struct(&png, &info);
        return false;
    }
    png_init_io(png, file);
    png_set_compression_level(png, 3);
    png_set_IHDR(png, info, picture.width, picture.height, picture.bit_depth, picture.color_type, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (png_uint_32 row = 0; row < picture.height; ++row) png_write_row(png, picture.rows + row * picture.row_bytes);
    png_write_end(png, nullptr);
    png_destroy_write_struct(&png, &info);
    return true;
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& why) {
    throw std::runtime_error(fmt::format("cannot write {}: {}", path.string(), why));
}

void save_png(const std::filesystem::path& path, const Picture& picture) {
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) fail(path, std::strerror(errno));
    std::string error = "out of memory";
    bool good = write_png(file, picture, &error);
    if (std::fclose(file) != 0 && good) {
        error = std::strerror(errno);
        good = false;
    }
    if (!good) fail(path, error);
}

template <class T>
T element(const std::uint8_t* bytes, std::size_t i) {
    T value;
    std::memcpy(&value, bytes + i * sizeof value, sizeof value);
    return value;
}

// IEEE 754 binary16, for which C++20 has no type.
double half(std::uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent == 31  ? (fraction != 0 ? std::nan("") : HUGE_VAL)
                        : exponent == 0 ? std::ldexp(fraction, -24)
                                        : std::ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 != 0 ? -size : size;
}

// Calls `use` with element i, a half as the double that it stands for.
template <class Use>
auto with_element(const std::uint8_t* bytes, DType type, std::size_t i, Use use) {
    switch (type) {
        case DType::boolean:
        case DType::uint8: return use(element<std::uint8_t>(bytes, i));
        case DType::int8: return use(element<std::int8_t>(bytes, i));
        case DType::uint16: return use(element<std::uint16_t>(bytes, i));
        case DType::int16: return use(element<std::int16_t>(bytes, i));
        case DType::uint32: return use(element<std::uint32_t>(bytes, i));
        case DType::int32: return use(element<std::int32_t>(bytes, i));
        case DType::uint64: return use(element<std::uint64_t>(bytes, i));
        case DType::int64: return use(element<std::int64_t>(bytes, i));
        case DType::float16: return use(half(element<std::uint16_t>(bytes, i)));
        case DType::float32: return use(element<float>(bytes, i));
        case DType::float64: break;
    }
    return use(element<double>(bytes, i));
}

bool is_float(DType type) { return type == DType::float16 || type == DType::float32 || type == DType::float64; }

DType type_of(const std::filesystem::path& path, const std::string& name, DType usual) {
    if (name.empty()) return usual;
    const std::optional<DType> type = parse_dtype(name);
    if (!type) fail(path, fmt::format("elements of type '{}' are not known", name));
    return *type;
}

// PNG: most significant byte first.
void append_16(std::vector<std::uint8_t>& rows, unsigned value) {
    rows.push_back(static_cast<std::uint8_t>(value >> 8));
    rows.push_back(static_cast<std::uint8_t>(value & 0xff));
}

void save_image(const std::filesystem::path& path, const CameraInfo& camera) {
    constexpr int color_types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                   PNG_COLOR_TYPE_RGB_ALPHA};
    const int channels = camera.image_shape.size() == 3 ? camera.image_shape[2] : 1;
    if (channels < 1 || channels > 4) fail(path, fmt::format("a PNG has 1 to 4 channels, the image has {}", channels));
    const DType type = type_of(path, camera.image_dtype, DType::uint8);
    if (type != DType::uint8 && type != DType::uint16)
        fail(path, fmt::format("a PNG holds uint8 or uint16, the image is {}", to_string(type)));
    std::vector<std::uint8_t> swapped;
    if (type == DType::uint16)
        for (std::size_t i = 0; i < camera.image.size() / 2; ++i)
            append_16(swapped, element<std::uint16_t>(camera.image.data(), i));
    const auto width = static_cast<std::size_t>(camera.image_shape[1]);
    save_png(path, {static_cast<png_uint_32>(width), static_cast<png_uint_32>(camera.image_shape[0]),
                    static_cast<int>(8 * size_of(type)), color_types[channels - 1],
                    width * static_cast<std::size_t>(channels) * size_of(type),
                    swapped.empty() ? camera.image.data() : swapped.data()});
}

// Millimetres, 0 where there are none.
std::vector<unsigned> millimetres_of(const std::filesystem::path& path, const CameraInfo& camera, std::size_t pixels) {
    const DType type = type_of(path, camera.depth_dtype, DType::float32);
    // Where nobody says, floats are metres, as documented, and integers millimetres, as depth cameras have them.
    const double unit = camera.depth_unit > 0 ? camera.depth_unit : is_float(type) ? 1.0 : 0.001;
    std::vector<unsigned> depth(pixels);
    for (std::size_t i = 0; i < pixels; ++i) {
        const double depth_in_units =
            with_element(camera.depth_data.data(), type, i, [](auto value) { return static_cast<double>(value); });
        const double millimetres = std::round(depth_in_units * unit * 1000.0);
        if (millimetres > 0 && std::isfinite(millimetres)) depth[i] = static_cast<unsigned>(std::min(65535.0, millimetres));
    }
    return depth;
}

// From red, which is near, over yellow, green and cyan to blue: 0 to 1.
void append_color(std::vector<std::uint8_t>& rows, double far) {
    constexpr double stops[][3] = {{1, 0, 0}, {1, 1, 0}, {0, 1, 0}, {0, 1, 1}, {0, 0, 1}};
    const double at = std::clamp(far, 0.0, 1.0) * 4.0;
    const auto from = std::min<std::size_t>(static_cast<std::size_t>(at), 3);
    const double share = at - static_cast<double>(from);
    for (int c = 0; c < 3; ++c)
        rows.push_back(static_cast<std::uint8_t>(std::lround(255.0 * std::lerp(stops[from][c], stops[from + 1][c], share))));
}

// What a person sees of 16-bit gray is black: this is for them, and black where there is no depth.
void save_depth_preview(const std::filesystem::path& path, const std::vector<unsigned>& depth, const CameraInfo& camera) {
    std::vector<unsigned> measured;
    std::copy_if(depth.begin(), depth.end(), std::back_inserter(measured), [](unsigned mm) { return mm > 0; });
    double nearest = 0, farthest = 0;
    if (!measured.empty()) {  // but for a hundredth of outliers at each end, which would leave one colour for the rest
        const auto cut = static_cast<std::ptrdiff_t>(measured.size() / 100);
        std::nth_element(measured.begin(), measured.begin() + cut, measured.end());
        nearest = measured[static_cast<std::size_t>(cut)];
        std::nth_element(measured.begin(), measured.end() - 1 - cut, measured.end());
        farthest = *(measured.end() - 1 - cut);
    }
    std::vector<std::uint8_t> rows;
    rows.reserve(depth.size() * 3);
    for (const unsigned mm : depth) {
        if (mm == 0) rows.insert(rows.end(), 3, std::uint8_t{0});
        else append_color(rows, farthest > nearest ? (mm - nearest) / (farthest - nearest) : 0.0);
    }
    const auto width = static_cast<std::size_t>(camera.depth_shape[1]);
    save_png(path, {static_cast<png_uint_32>(width), static_cast<png_uint_32>(camera.depth_shape[0]), 8, PNG_COLOR_TYPE_RGB,
                    width * 3, rows.data()});
}

void save_depth(const std::filesystem::path& path, const std::vector<unsigned>& depth, const CameraInfo& camera) {
    std::vector<std::uint8_t> rows;
    rows.reserve(depth.size() * 2);
    for (const unsigned mm : depth) append_16(rows, mm);
    const auto width = static_cast<std::size_t>(camera.depth_shape[1]);
    save_png(path, {static_cast<png_uint_32>(width), static_cast<png_uint_32>(camera.depth_shape[0]), 16,
                    PNG_COLOR_TYPE_GRAY, width * 2, rows.data()});
}

// Names come from the server: they must not lead out of the folder, nor meet in one file.
std::string file_name(const std::string& name, std::set<std::string>& taken) {
    std::string safe = name.substr(0, 100);
    for (char& c : safe)
        if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || (c == '.' && &c != safe.data())))
            c = '_';
    if (safe.empty()) safe = "camera";
    std::string unique = safe;
    const auto files = [&] { return std::array{unique, unique + "_depth", unique + "_depth_preview"}; };
    const auto is_taken = [&](const std::string& file) { return taken.contains(file); };
    for (int i = 2; std::ranges::any_of(files(), is_taken); ++i) unique = fmt::format("{}_{}", safe, i);
    for (const std::string& file : files()) taken.insert(file);
    return unique;
}

template <class Matrix>
nlohmann::json rows_of(const Matrix& matrix) {
    nlohmann::json rows = nlohmann::json::array();
    for (Eigen::Index row = 0; row < matrix.rows(); ++row) {
        nlohmann::json values = nlohmann::json::array();
        for (Eigen::Index column = 0; column < matrix.cols(); ++column) values.push_back(matrix(row, column));
        rows.push_back(values);
    }
    return rows;
}

// Lists of lists, as deep as the shape is long: numpy.array() of it has that shape. What is not finite is null.
nlohmann::json values_of(const SlotInfo& slot, std::size_t dimension, std::size_t& next) {
    if (dimension == slot.shape.size()) {
        const std::size_t i = next++;
        if (slot.dtype == DType::boolean) return slot.data[i] != 0;
        return with_element(slot.data.data(), slot.dtype, i, [](auto value) { return nlohmann::json(value); });
    }
    nlohmann::json values = nlohmann::json::array();
    for (int i = 0; i < slot.shape[dimension]; ++i) values.push_back(values_of(slot, dimension + 1, next));
    return values;
}

nlohmann::json slots_json(const Observation& obs) {
    nlohmann::json slots = nlohmann::json::array();
    for (const SlotInfo& slot : slots_in(obs.extra)) {
        std::size_t next = 0;
        slots.push_back({{"name", slot.name},
                         {"timestamp", slot.timestamp},
                         {"sequence", slot.sequence},
                         {"status", to_string(slot.status)},
                         {"dtype", to_string(slot.dtype)},
                         {"shape", slot.shape},
                         {"values", values_of(slot, 0, next)}});
    }
    return slots;
}

}  // namespace

std::vector<std::filesystem::path> save_observation(const Observation& obs, const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) fail(folder, error.message());

    std::vector<std::filesystem::path> files;
    std::set<std::string> taken = {"observation"};
    nlohmann::json json = {{"timestamp", obs.timestamp}, {"snapshot_time", obs.snapshot_time}};
    json["cameras"] = nlohmann::json::array();
    json["proprios"] = nlohmann::json::array();
    for (const CameraInfo& camera : obs.cameras) {
        const std::string name = file_name(camera.name, taken);
        nlohmann::json entry = {{"name", camera.name},
                                {"timestamp", camera.timestamp},
                                {"sequence", camera.sequence},
                                {"intrinsics", rows_of(camera.intrinsics)},
                                {"extrinsics", rows_of(camera.extrinsics)}};
        if (!camera.image_shape.empty()) {
            files.push_back(folder / (name + ".png"));
            save_image(files.back(), camera);
            entry["image"] = name + ".png";
        }
        if (camera.has_depth && camera.depth_shape.size() == 2) {
            files.push_back(folder / (name + "_depth.png"));
            const auto pixels =
                static_cast<std::size_t>(camera.depth_shape[0]) * static_cast<std::size_t>(camera.depth_shape[1]);
            const std::vector<unsigned> depth = millimetres_of(files.back(), camera, pixels);
            save_depth(files.back(), depth, camera);
            entry["depth"] = name + "_depth.png";
            entry["depth_unit"] = "millimetre";
            files.push_back(folder / (name + "_depth_preview.png"));
            save_depth_preview(files.back(), depth, camera);
            entry["depth_preview"] = name + "_depth_preview.png";
        }
        json["cameras"].push_back(entry);
    }
    for (const ProprioInfo& proprio : obs.proprios)
        json["proprios"].push_back({{"name", proprio.name},
                                    {"timestamp", proprio.timestamp},
                                    {"sequence", proprio.sequence},
                                    {"values", proprio.data}});

    json["slots"] = slots_json(obs);

    files.push_back(folder / "observation.json");
    std::ofstream out(files.back());
    out << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    out.close();
    if (!out) fail(files.back(), std::strerror(errno));
    return files;
}

}  // namespace chiral::tools
