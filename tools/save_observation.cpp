// SPDX-License-Identifier: Apache-2.0
#include "save_observation.hpp"

#include <fmt/format.h>
#include <png.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>

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

void save_image(const std::filesystem::path& path, const CameraInfo& camera) {
    constexpr int color_types[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                   PNG_COLOR_TYPE_RGB_ALPHA};
    const int channels = camera.image_shape[2];
    if (channels < 1 || channels > 4) fail(path, fmt::format("a PNG has 1 to 4 channels, the image has {}", channels));
    const auto width = static_cast<std::size_t>(camera.image_shape[1]);
    save_png(path, {static_cast<png_uint_32>(width), static_cast<png_uint_32>(camera.image_shape[0]), 8,
                    color_types[channels - 1], width * static_cast<std::size_t>(channels), camera.image.data()});
}

void save_depth(const std::filesystem::path& path, const CameraInfo& camera) {
    const auto height = static_cast<std::size_t>(camera.depth_shape[0]),
               width = static_cast<std::size_t>(camera.depth_shape[1]);
    std::vector<std::uint8_t> rows(height * width * 2);
    for (std::size_t i = 0; i < height * width; ++i) {
        float metres = 0.0f;
        std::memcpy(&metres, camera.depth_data.data() + i * sizeof metres, sizeof metres);
        unsigned millimetres = 0;
        if (std::isfinite(metres) && metres > 0.0f)
            millimetres = static_cast<unsigned>(std::min(65535.0f, std::round(metres * 1000.0f)));
        rows[2 * i] = static_cast<std::uint8_t>(millimetres >> 8);  // PNG: most significant byte first
        rows[2 * i + 1] = static_cast<std::uint8_t>(millimetres & 0xff);
    }
    save_png(path, {static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), 16, PNG_COLOR_TYPE_GRAY, width * 2,
                    rows.data()});
}

// Names come from the server: they must not lead out of the folder, nor meet in one file.
std::string file_name(const std::string& name, std::set<std::string>& taken) {
    std::string safe = name.substr(0, 100);
    for (char& c : safe)
        if (!(std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || (c == '.' && &c != safe.data())))
            c = '_';
    if (safe.empty()) safe = "camera";
    std::string unique = safe;
    for (int i = 2; taken.contains(unique) || taken.contains(unique + "_depth"); ++i) unique = fmt::format("{}_{}", safe, i);
    taken.insert({unique, unique + "_depth"});
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
        if (camera.image_shape.size() == 3) {
            files.push_back(folder / (name + ".png"));
            save_image(files.back(), camera);
            entry["image"] = name + ".png";
        }
        if (camera.has_depth && camera.depth_shape.size() == 2) {
            files.push_back(folder / (name + "_depth.png"));
            save_depth(files.back(), camera);
            entry["depth"] = name + "_depth.png";
            entry["depth_unit"] = "millimetre";
        }
        json["cameras"].push_back(entry);
    }
    for (const ProprioInfo& proprio : obs.proprios)
        json["proprios"].push_back({{"name", proprio.name},
                                    {"timestamp", proprio.timestamp},
                                    {"sequence", proprio.sequence},
                                    {"values", proprio.data}});

    files.push_back(folder / "observation.json");
    std::ofstream out(files.back());
    out << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    out.close();
    if (!out) fail(files.back(), std::strerror(errno));
    return files;
}

}  // namespace chiral::tools
