// SPDX-License-Identifier: Apache-2.0
// Observations between C++ and numpy, without a copy of pixels in either direction.
//
// To Python they go as plain tuples, which the package makes its dataclasses of:
//     (timestamp, snapshot_time, extra, cameras, proprios)
//     camera:  (name, K, T, image, depth or None, timestamp, sequence, missed, status, depth_unit)
//     proprio: (name, values, timestamp, sequence, missed, status)
// where extra is a dict, or bytes with a MessagePack map. From Python they come alike, with extra always as bytes, and with
// arrays that are C-contiguous: K and T float64, values float32, image and depth of any dtype.
#pragma once

#include "interpreter.hpp"

#include <chiral/types.hpp>

#include <nanobind/ndarray.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace chiral::python {

/// A C-contiguous array's memory while this lives. Throws TypeError or BufferError for anything else.
class ArrayBytes {
public:
    explicit ArrayBytes(nb::handle array) {
        if (PyObject_GetBuffer(array.ptr(), &view_, PyBUF_C_CONTIGUOUS) != 0) throw nb::python_error();
    }
    ~ArrayBytes() { PyBuffer_Release(&view_); }
    ArrayBytes(const ArrayBytes&) = delete;
    ArrayBytes& operator=(const ArrayBytes&) = delete;

    const std::uint8_t* data() const noexcept { return static_cast<const std::uint8_t*>(view_.buf); }
    std::size_t size() const noexcept { return static_cast<std::size_t>(view_.len); }
    /// Of a float32 array, which may be empty.
    std::vector<float> floats() const {
        std::vector<float> values(size() / sizeof(float));
        if (!values.empty()) std::memcpy(values.data(), data(), values.size() * sizeof(float));
        return values;
    }

private:
    Py_buffer view_{};
};

/// N x N float64 of a C-contiguous array.
template <int N>
Eigen::Matrix<double, N, N> to_matrix(nb::handle array) {
    const ArrayBytes bytes(array);
    Eigen::Matrix<double, N, N, Eigen::RowMajor> rows;
    if (bytes.size() != sizeof(double) * N * N)
        throw nb::value_error(("a camera matrix has " + std::to_string(bytes.size()) + " bytes, expected " +
                               std::to_string(sizeof(double) * N * N))
                                  .c_str());
    std::memcpy(rows.data(), bytes.data(), bytes.size());
    return rows;
}

/// An observation in the memory it was received in, for as long as an array shows a part of it.
struct ReceivedObservation {
    std::shared_ptr<const Observation> observation;
};

/// What one of numpy's names means to DLPack. Throws std::runtime_error for a name that is none of ours.
nb::dlpack::dtype dtype_named(const std::string& name);

/// A numpy array over memory that `owner` keeps.
nb::object array_view(const void* data, nb::dlpack::dtype dtype, std::span<const std::size_t> shape, nb::handle owner,
                      bool writable);
/// A numpy array with a copy of `data`.
nb::object array_copy(const void* data, nb::dlpack::dtype dtype, std::span<const std::size_t> shape);

/// Images and depths are views of the observation's memory, which `owner` keeps, and read-only; the rest is copied.
/// `received`: by a client, which has decoded them; the robot's own are bytes where a camera delivers encoded pictures.
nb::object to_python(const Observation& observation, nb::handle owner, bool received);
nb::object to_python(const InfoMap& info);

/// Images and depths borrow the arrays' memory. The arrays are kept until nobody borrows from them, and dropped by a thread
/// that holds the GIL.
Observation to_observation(nb::handle observation);
InfoMap to_info(nb::handle encoded);

}  // namespace chiral::python
