// SPDX-License-Identifier: Apache-2.0
// Every type of element in every field that has elements: what is written is what is read, by the type that was declared.
#include "support.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <typeinfo>

namespace chiral::test {
namespace {

constexpr std::size_t kPixels = 15;

std::vector<std::uint8_t> counted_bytes(std::size_t count) {
    std::vector<std::uint8_t> bytes(count);
    for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(3 * i + 1);
    return bytes;
}

CameraConfig typed(DType image, DType depth) {
    CameraConfig config = camera("wrist", 3, 5, 2, true);
    config.image_dtype = image;
    config.depth_dtype = depth;
    return config;
}

/// Calls `test` with an element of each type that C++ has.
template <class Test>
void for_each_element_type(Test test) {
    test(DType::boolean, bool{});
    test(DType::uint8, std::uint8_t{});
    test(DType::int8, std::int8_t{});
    test(DType::uint16, std::uint16_t{});
    test(DType::int16, std::int16_t{});
    test(DType::uint32, std::uint32_t{});
    test(DType::int32, std::int32_t{});
    test(DType::uint64, std::uint64_t{});
    test(DType::int64, std::int64_t{});
    test(DType::float16, std::uint16_t{});
    test(DType::float32, float{});
    test(DType::float64, double{});
}

template <class Call>
std::string logic_error_of(Call call) {
    try {
        call();
    } catch (const std::logic_error& error) {
        return error.what();
    }
    return "nothing was thrown";
}

TEST(PixelsOfEveryType, AreReadByThatTypeAndAsBytes) {
    for_each_element_type([](DType type, auto element) {
        SCOPED_TRACE(to_string(type));
        using T = decltype(element);
        Engine engine({typed(type, type)}, {}, with_readers(1));
        Reader reader = engine.make_reader();
        const auto image = counted_bytes(2 * kPixels * sizeof(T)), depth = counted_bytes(kPixels * sizeof(T));
        ASSERT_TRUE(engine.update_image(0, image.data(), image.size()).ok());
        ASSERT_TRUE(engine.update_depth(0, depth.data(), depth.size()).ok());
        EXPECT_EQ(engine.update_image(0, image.data(), image.size() - 1).expected(), image.size());
        EXPECT_EQ(engine.update_depth(0, depth.data(), depth.size() + 1).expected(), depth.size());
        const Snapshot snapshot = reader.snapshot();
        const CameraView view = snapshot.camera(0);
        ASSERT_EQ(view.image_as<T>().size(), 2 * kPixels);
        ASSERT_EQ(view.depth_as<T>().size(), kPixels);
        EXPECT_EQ(std::memcmp(view.image_as<T>().data(), image.data(), image.size()), 0);
        EXPECT_EQ(std::memcmp(view.depth_as<T>().data(), depth.data(), depth.size()), 0);
        EXPECT_TRUE(std::equal(image.begin(), image.end(), view.image().begin(), view.image().end()));
        EXPECT_TRUE(std::equal(depth.begin(), depth.end(), view.depth_bytes().begin(), view.depth_bytes().end()));
    });
}

TEST(PixelsOfEveryType, AreFilledInPlaceByThatType) {
    for_each_element_type([](DType type, auto element) {
        SCOPED_TRACE(to_string(type));
        using T = decltype(element);
        Engine engine({typed(type, type)}, {}, with_readers(1));
        Reader reader = engine.make_reader();
        Frame frame = engine.begin_frame(0);
        ASSERT_EQ(frame.image_as<T>().size(), 2 * kPixels);
        ASSERT_EQ(frame.depth_as<T>().size(), kPixels);
        fill(frame.image_as<T>(), static_cast<T>(1));
        fill(frame.depth_as<T>(), static_cast<T>(1));
        frame.depth_as<T>()[7] = static_cast<T>(0);
        EXPECT_EQ(frame.image().size(), 2 * kPixels * sizeof(T));
        EXPECT_EQ(frame.depth_bytes().size(), kPixels * sizeof(T));
        ASSERT_TRUE(frame.commit().ok());
        const Snapshot snapshot = reader.snapshot();
        EXPECT_EQ(snapshot.camera(0).image_as<T>()[29], static_cast<T>(1));
        EXPECT_EQ(snapshot.camera(0).depth_as<T>()[6], static_cast<T>(1));
        EXPECT_EQ(snapshot.camera(0).depth_as<T>()[7], static_cast<T>(0));
    });
}

TEST(ASpanOfAnotherType, IsRefusedByName) {
    Engine engine({typed(DType::uint16, DType::int16)}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    {
        Frame frame = engine.begin_frame(0);
        EXPECT_TRUE(frame.depth().empty()) << "float32";
        EXPECT_EQ(frame.status().code(), Errc::wrong_type);
        EXPECT_EQ(frame.status().message(), "camera 'wrist': depth is of int16 elements, got float32");
        EXPECT_EQ(frame.commit().code(), Errc::wrong_type);
    }
    {
        Frame frame = engine.begin_frame(0);
        EXPECT_TRUE(frame.image_as<std::int32_t>().empty());
        EXPECT_EQ(frame.status().message(), "camera 'wrist': image is of uint16 elements, got int32");
    }
    EXPECT_TRUE(engine.begin_frame(0).image_as<std::uint16_t>().size() == 2 * kPixels) << "nothing stayed claimed";
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(logic_error_of([&] { static_cast<void>(snapshot.camera(0).depth()); }),
              "camera 'wrist': depth is of int16 elements, got float32");
    EXPECT_EQ(logic_error_of([&] { static_cast<void>(snapshot.camera(0).image_as<double>()); }),
              "camera 'wrist': image is of uint16 elements, got float64");
}

TEST(DepthOfACameraWithoutIt, IsEmptyWhateverTheType) {
    Engine engine({camera("flat", 3, 5, 3, false)}, {}, with_readers(1));
    Reader reader = engine.make_reader();
    const Snapshot snapshot = reader.snapshot();
    EXPECT_TRUE(snapshot.camera(0).depth_as<std::uint16_t>().empty());
    EXPECT_TRUE(snapshot.camera(0).depth_bytes().empty());
}

// ---- streams ----

TEST(StreamsOfEveryType, AreReadByThatTypeAndAsFloat32) {
    for_each_element_type([](DType type, auto element) {
        SCOPED_TRACE(to_string(type));
        using T = decltype(element);
        for (const int size : {1, 3, 8, 9}) {  // less than a word, words, and a cut one
            ProprioConfig config{"arm", size};
            config.dtype = type;
            Engine engine({}, {config}, with_readers(1));
            Reader reader = engine.make_reader();
            const auto count = static_cast<std::size_t>(size);
            const auto values = std::make_unique<T[]>(count);
            for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<T>(type == DType::float16 ? 0x3c00 : i % 2 + 0);
            ASSERT_TRUE(engine.update_proprio_as<T>(0, {values.get(), count}).ok());
            const Snapshot snapshot = reader.snapshot();
            const ProprioView view = snapshot.proprio(0);
            ASSERT_EQ(view.values_as<T>().size(), count);
            EXPECT_TRUE(std::equal(values.get(), values.get() + count, view.values_as<T>().begin()));
            std::vector<float> floats(count, -1.f);
            EXPECT_EQ(engine.latest_proprio(0, floats), ProprioRead::latest);
            for (std::size_t i = 0; i < count; ++i) {
                EXPECT_EQ(floats[i], type == DType::float16 ? 1.f : static_cast<float>(i % 2));
                EXPECT_EQ(view.values()[i], floats[i]);
            }
        }
    });
}

TEST(ADoubleStream, KeepsWhatFloat32WouldLose) {
    ProprioConfig config{"joints", 2};
    config.dtype = DType::float64;
    Engine engine({}, {config}, with_readers(1));
    Reader reader = engine.make_reader();
    const std::array<double, 2> first{1.0 + 1e-12, -2.0}, second{1.0 + 3e-12, 2.0};
    ASSERT_TRUE(engine.update_proprio_as<double>(0, first, at_ns(1000)).ok());
    ASSERT_TRUE(engine.update_proprio_as<double>(0, second, at_ns(2000)).ok());
    {
        const Snapshot snapshot = reader.snapshot();
        EXPECT_EQ(snapshot.proprio(0).values_as<double>()[0], second[0]);
        EXPECT_EQ(snapshot.proprio(0).values()[0], 1.0f);
    }
    const Snapshot between = reader.snapshot(at_ns(1500));
    EXPECT_EQ(between.proprio(0).how(), ProprioRead::interpolated);
    EXPECT_NEAR(between.proprio(0).values_as<double>()[0], 1.0 + 2e-12, 1e-15);
    EXPECT_EQ(between.proprio(0).values_as<double>()[1], 0.0);
}

TEST(AnIntegerStream, IsInterpolatedToTheNearest) {
    ProprioConfig config{"encoder", 1};
    config.dtype = DType::int16;
    Engine engine({}, {config}, with_readers(1));
    Reader reader = engine.make_reader();
    const std::int16_t first = -10, second = 11;
    ASSERT_TRUE(engine.update_proprio_as<std::int16_t>(0, {&first, 1}, at_ns(0)).ok());
    ASSERT_TRUE(engine.update_proprio_as<std::int16_t>(0, {&second, 1}, at_ns(1000)).ok());
    EXPECT_EQ(reader.snapshot(at_ns(900)).proprio(0).how(), ProprioRead::interpolated);
    const Snapshot snapshot = reader.snapshot(at_ns(900));
    EXPECT_EQ(snapshot.proprio(0).values_as<std::int16_t>()[0], 9);
}

TEST(AnIntegerStream, ThatADoubleCannotCountIsNotBlended) {
    ProprioConfig config{"ticks", 1};
    config.dtype = DType::int64;
    Engine engine({}, {config}, with_readers(1));
    Reader reader = engine.make_reader();
    const std::int64_t first = (std::int64_t{1} << 60) + 1, second = (std::int64_t{1} << 60) + 3;
    ASSERT_TRUE(engine.update_proprio_as<std::int64_t>(0, {&first, 1}, at_ns(0)).ok());
    ASSERT_TRUE(engine.update_proprio_as<std::int64_t>(0, {&second, 1}, at_ns(1000)).ok());
    const Snapshot snapshot = reader.snapshot(at_ns(900));
    EXPECT_EQ(snapshot.proprio(0).values_as<std::int64_t>()[0], first) << "the value that was current then";
}

TEST(AStream, RefusesBytesThatLieWhereNoElementMay) {
    ProprioConfig config{"arm", 1};
    config.dtype = DType::float64;
    Engine engine({}, {config});
    alignas(8) std::byte bytes[16]{};
    const Status odd = engine.update_proprio_bytes(0, {bytes + 1, 8});
    EXPECT_EQ(odd.code(), Errc::wrong_size);
    EXPECT_EQ(odd.message(), "proprio 'arm': sample has 8 bytes, expected aligned elements in 8");
    EXPECT_TRUE(engine.update_proprio_bytes(0, {bytes + 8, 8}).ok());
}

TEST(AStream, RefusesElementsOfAnotherType) {
    ProprioConfig config{"arm", 2};
    config.dtype = DType::float64;
    Engine engine({}, {config, {"plain", 2}}, with_readers(1));
    Reader reader = engine.make_reader();
    const float floats[2]{};
    const double doubles[2]{1, std::numeric_limits<double>::infinity()};
    const Status status = engine.update_proprio(0, floats, 2);
    EXPECT_EQ(status.code(), Errc::wrong_type);
    EXPECT_EQ(status.message(), "proprio 'arm': proprio is of float64 elements, got float32");
    EXPECT_EQ(engine.update_proprio_as<double>(1, doubles).code(), Errc::wrong_type);
    EXPECT_EQ(engine.update_proprio_as<double>(0, doubles).code(), Errc::not_finite);
    EXPECT_EQ(engine.update_proprio_bytes(0, std::as_bytes(std::span(floats))).code(), Errc::wrong_size);
    const Snapshot snapshot = reader.snapshot();
    EXPECT_EQ(logic_error_of([&] { static_cast<void>(snapshot.proprio(0).values_as<float>()); }),
              "proprio 'arm': proprio is of float64 elements, got float32");
}

TEST(AHalfStream, RefusesWhatIsNotFinite) {
    ProprioConfig config{"half", 3};
    config.dtype = DType::float16;
    Engine engine({}, {config}, with_readers(1));
    const std::uint16_t infinite[3]{0x3c00, 0x7c00, 0};
    const Status status = engine.update_proprio_as<std::uint16_t>(0, infinite);
    EXPECT_EQ(status.code(), Errc::not_finite);
    EXPECT_EQ(status.got(), 1u);
}

// ---- the ring ----

TEST(AHistory, IsRoundedUpToAPowerOfTwoAndReported) {
    for (const auto& [asked, is] : {std::pair<std::size_t, std::size_t>{2, 2}, {3, 4}, {100, 128}, {256, 256}}) {
        EngineOptions options;
        options.proprio_history = asked;
        Engine engine({}, {{"arm", 1}}, options);
        EXPECT_EQ(engine.options().proprio_history, is);
        for (int n = 1; n <= 1000; ++n) {
            const auto value = static_cast<float>(n);
            ASSERT_TRUE(engine.update_proprio(0, &value, 1, at_ns(n)).ok());
        }
        float oldest = 0;
        EXPECT_EQ(engine.proprio_at(0, at_ns(0), {&oldest, 1}), ProprioRead::before_oldest);
        EXPECT_EQ(oldest, static_cast<float>(1000 - is + 1));
    }
}

}  // namespace
}  // namespace chiral::test
