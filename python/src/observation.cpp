// SPDX-License-Identifier: Apache-2.0
#include "observation.hpp"

#include <nanobind/stl/string.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace chiral::python {
namespace {

using RowMajor3 = Eigen::Matrix<double, 3, 3, Eigen::RowMajor>;
using RowMajor4 = Eigen::Matrix<double, 4, 4, Eigen::RowMajor>;

// Keeps the arrays that an observation borrows from.
class ArraysOnLoan final : public Loan {
public:
    explicit ArraysOnLoan(nb::object arrays) {
        grave_.object = arrays.release().ptr();
        grave_.free = [](Grave* grave) { delete static_cast<Buried*>(grave)->loan; };
        grave_.loan = this;
    }
    void add_ref() noexcept override { references_.fetch_add(1, std::memory_order_relaxed); }
    // acq_rel: the last one to drop comes after the reads of all others, as in every reference count.
    void drop_ref() noexcept override {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) bury(grave_);
    }

private:
    struct Buried : Grave {
        ArraysOnLoan* loan{nullptr};
    };
    std::atomic<std::uint32_t> references_{1};  // of whoever fills the observation
    Buried grave_;
};

nb::object pixels(const ByteBuffer& buffer, const std::string& dtype, const std::vector<int>& shape, nb::handle owner) {
    std::array<std::size_t, 3> sizes{};
    std::size_t dimensions = 0;
    for (const int size : shape) sizes.at(dimensions++) = static_cast<std::size_t>(size);
    if (dimensions == 0) dimensions = 3;  // a camera without an image
    return array_view(buffer.data(), dtype_named(dtype.empty() ? "uint8" : dtype), {sizes.data(), dimensions}, owner, false);
}

nb::object extra_of(const ExtraMap& extra) {
    if (!extra.encoded.empty()) return nb::bytes(reinterpret_cast<const char*>(extra.encoded.data()), extra.encoded.size());
    nb::dict dict;
    for (const auto& [name, value] : extra)
        std::visit([&, key = nb::cast(name)](const auto& held) { dict[key] = nb::cast(held); }, value);
    return dict;
}

nb::tuple names_of_unchanged(const CameraInfo& camera) {
    if (camera.image_unchanged && camera.depth_unchanged) return nb::make_tuple("image", "depth");
    if (camera.image_unchanged) return nb::make_tuple("image");
    return camera.depth_unchanged ? nb::make_tuple("depth") : nb::tuple();
}

SourceStatus status_of(nb::handle number) { return static_cast<SourceStatus>(nb::cast<int>(number)); }

std::vector<int> shape_of(nb::handle array) {
    std::vector<int> shape;
    for (const nb::handle size : nb::borrow<nb::tuple>(array.attr("shape"))) shape.push_back(nb::cast<int>(size));
    return shape;
}

void borrow(ByteBuffer& buffer, nb::handle array, Loan& loan) {
    const ArrayBytes bytes(array);
    buffer.borrow(bytes.data(), bytes.size(), loan);
}

}  // namespace

nb::dlpack::dtype dtype_named(const std::string& name) {
    const auto of = [](nb::dlpack::dtype_code code, int bits) {
        return nb::dlpack::dtype{static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(bits), 1};
    };
    struct Kind {
        const char* prefix;
        nb::dlpack::dtype_code code;
    };
    if (name == "bool") return of(nb::dlpack::dtype_code::Bool, 8);
    for (const Kind kind : {Kind{"uint", nb::dlpack::dtype_code::UInt}, Kind{"int", nb::dlpack::dtype_code::Int},
                            Kind{"float", nb::dlpack::dtype_code::Float}}) {
        if (name.rfind(kind.prefix, 0) != 0) continue;
        const std::string bits = name.substr(std::strlen(kind.prefix));
        for (const int known : {8, 16, 32, 64})
            if (bits == std::to_string(known)) return of(kind.code, known);
    }
    throw std::runtime_error("dtype '" + name + "' came, expected bool, or uint, int or float of 8 to 64 bits");
}

nb::object array_view(const void* data, nb::dlpack::dtype dtype, std::span<const std::size_t> shape, nb::handle owner,
                      bool writable) {
    using Writable = nb::ndarray<nb::numpy, nb::c_contig>;
    using ReadOnly = nb::ndarray<nb::numpy, nb::ro, nb::c_contig>;
    void* const memory = const_cast<void*>(data);
    if (writable) return nb::cast(Writable(memory, shape.size(), shape.data(), owner, nullptr, dtype));
    return nb::cast(ReadOnly(memory, shape.size(), shape.data(), owner, nullptr, dtype));
}

nb::object array_copy(const void* data, nb::dlpack::dtype dtype, std::span<const std::size_t> shape) {
    std::size_t bytes = dtype.bits / 8;
    for (const std::size_t size : shape) bytes *= size;
    // Words, so that it is aligned for every dtype.
    auto memory = std::make_unique<std::uint64_t[]>(bytes / sizeof(std::uint64_t) + 1);
    if (bytes > 0) std::memcpy(memory.get(), data, bytes);
    void* const words = memory.get();
    nb::capsule owner(memory.release(), [](void* held) noexcept { delete[] static_cast<std::uint64_t*>(held); });
    return array_view(words, dtype, shape, owner, true);
}

nb::object to_python(const Observation& observation, nb::handle owner, bool received) {
    nb::list cameras;
    for (const CameraInfo& camera : observation.cameras) {
        const RowMajor3 K = camera.intrinsics;
        const RowMajor4 T = camera.extrinsics;
        cameras.append(nb::make_tuple(
            camera.name, array_copy(K.data(), nb::dtype<double>(), std::array<std::size_t, 2>{3, 3}),
            array_copy(T.data(), nb::dtype<double>(), std::array<std::size_t, 2>{4, 4}),
            received || camera.image_encoding == ImageEncoding::raw
                ? pixels(camera.image, camera.image_dtype, camera.image_shape, owner)
                : array_view(camera.image.data(), nb::dtype<std::uint8_t>(), std::array{camera.image.size()}, owner, false),
            camera.has_depth ? pixels(camera.depth_data, camera.depth_dtype, camera.depth_shape, owner) : nb::none(),
            camera.timestamp, camera.sequence, camera.missed, static_cast<int>(camera.status), camera.depth_unit,
            camera.depth_sequence, names_of_unchanged(camera)));
    }
    nb::list proprios;
    for (const ProprioInfo& proprio : observation.proprios)
        proprios.append(nb::make_tuple(
            proprio.name,
            array_copy(proprio.data.data(), nb::dtype<float>(), std::array<std::size_t, 1>{proprio.data.size()}),
            proprio.timestamp, proprio.sequence, proprio.missed, static_cast<int>(proprio.status)));
    return nb::make_tuple(observation.timestamp, observation.snapshot_time, extra_of(observation.extra), cameras, proprios);
}

nb::object to_python(const InfoMap& info) {
    if (!info.encoded.empty()) return nb::bytes(reinterpret_cast<const char*>(info.encoded.data()), info.encoded.size());
    nb::dict dict;
    for (const auto& [name, value] : info) dict[nb::cast(name)] = nb::cast(value);
    return dict;
}

Observation to_observation(nb::handle python) {
    Observation observation;
    observation.timestamp = nb::cast<double>(python[0]);
    observation.snapshot_time = nb::cast<double>(python[1]);
    const ArrayBytes extra(python[2]);
    observation.extra.encoded.assign(extra.data(), extra.data() + extra.size());

    nb::list arrays;
    auto* const loan = new ArraysOnLoan(arrays);  // buries itself
    struct Reference {
        Loan* loan;
        ~Reference() { loan->drop_ref(); }
    } reference{loan};
    for (const nb::handle from : python[3]) {
        CameraInfo& camera = observation.cameras.emplace_back();
        camera.name = nb::cast<std::string>(from[0]);
        camera.intrinsics = to_matrix<3>(from[1]);
        camera.extrinsics = to_matrix<4>(from[2]);
        const nb::object image = from[3];
        arrays.append(image);
        borrow(camera.image, image, *loan);
        camera.image_shape = shape_of(image);
        camera.image_dtype = nb::cast<std::string>(image.attr("dtype").attr("name"));
        const nb::object depth = from[4];
        camera.has_depth = !depth.is_none();
        if (camera.has_depth) {
            arrays.append(depth);
            borrow(camera.depth_data, depth, *loan);
            camera.depth_shape = shape_of(depth);
            camera.depth_dtype = nb::cast<std::string>(depth.attr("dtype").attr("name"));
        }
        camera.timestamp = nb::cast<double>(from[5]);
        camera.sequence = nb::cast<std::uint64_t>(from[6]);
        camera.missed = nb::cast<std::uint64_t>(from[7]);
        camera.status = status_of(from[8]);
        camera.depth_unit = nb::cast<double>(from[9]);
        camera.depth_sequence = nb::cast<std::uint64_t>(from[10]);
    }
    for (const nb::handle from : python[4]) {
        ProprioInfo& proprio = observation.proprios.emplace_back();
        proprio.name = nb::cast<std::string>(from[0]);
        const nb::object values = from[1];
        proprio.data = ArrayBytes(values).floats();
        proprio.timestamp = nb::cast<double>(from[2]);
        proprio.sequence = nb::cast<std::uint64_t>(from[3]);
        proprio.missed = nb::cast<std::uint64_t>(from[4]);
        proprio.status = status_of(from[5]);
    }
    return observation;
}

InfoMap to_info(nb::handle encoded) {
    const ArrayBytes bytes(encoded);
    InfoMap info;
    info.encoded.assign(bytes.data(), bytes.data() + bytes.size());
    return info;
}

}  // namespace chiral::python
