// SPDX-License-Identifier: Apache-2.0
// Observations become what clients want: once for all who want the same, elsewhere than on the thread that asks.
#include "imaging/want_pool.hpp"

#include <gtest/gtest.h>

#include <future>
#include <list>
#include <optional>
#include <set>
#include <thread>

namespace chiral::imaging {
namespace {

constexpr ImageSize vga{48, 64};

// The engine, as far as a borrowed buffer is concerned.
struct Slot final : Loan {
    std::vector<std::uint8_t> image = std::vector<std::uint8_t>(48 * 64 * 3, 90);
    std::vector<float> depth = std::vector<float>(48 * 64, 1.5f);
    std::atomic<int> borrowed{0};
    void add_ref() noexcept override { ++borrowed; }
    void drop_ref() noexcept override { --borrowed; }
};

Observation observation(Slot& slot, std::uint64_t sequence) {
    Observation obs;
    for (const char* name : {"wrist", "head"}) {
        CameraInfo& camera = obs.cameras.emplace_back();
        camera.name = name;
        camera.sequence = camera.depth_sequence = sequence;
        camera.intrinsics << 60, 0, 31.5, 0, 60, 23.5, 0, 0, 1;
        camera.image_shape = {vga.height, vga.width, 3};
        camera.image.borrow(slot.image.data(), slot.image.size(), slot);
        camera.has_depth = true;
        camera.depth_shape = {vga.height, vga.width};
        camera.depth_data.borrow(reinterpret_cast<const std::uint8_t*>(slot.depth.data()), slot.depth.size() * sizeof(float),
                                 slot);
    }
    for (const char* name : {"joints", "torque"}) obs.proprios.emplace_back().name = name;
    return obs;
}

wire::WantRequest small_jpegs() {
    wire::WantRequest request;
    request.want.all = {{22, 22}, Fit::stretch, ImageEncoding::jpeg, 85, ColourOrder::rgb, DepthEncoding::millimetres};
    return request;
}

struct TestCustomer final : Customer {
    bool gone() const noexcept override { return left; }
    void made(std::string problem) noexcept override { done(std::move(problem)); }
    std::function<void(std::string)> done;
    bool left{false};
};

std::unique_ptr<Customer> customer(std::function<void(std::string)> done, bool gone = false) {
    auto one = std::make_unique<TestCustomer>();
    one->done = std::move(done);
    one->left = gone;
    return one;
}

class AWantPool : public testing::Test {
protected:
    std::future<std::string> begin(Observation& obs, const wire::WantRequest& request, Reduction reduction = {}) {
        const auto promise = std::make_shared<std::promise<std::string>>();
        pool->fulfil(obs, std::make_shared<const wire::WantRequest>(request), reduction,
                     customer([promise](std::string problem) { promise->set_value(std::move(problem)); }));
        return promise->get_future();
    }
    static void expect_done(std::future<std::string>& done) {
        ASSERT_EQ(done.wait_for(std::chrono::seconds(60)), std::future_status::ready);
        EXPECT_EQ(done.get(), "");
    }
    Observation fulfilled(std::uint64_t sequence, const wire::WantRequest& request, Reduction reduction = {}) {
        Observation obs = observation(slot, sequence);
        auto done = begin(obs, request, reduction);
        expect_done(done);
        return obs;
    }

    Slot slot;
    // The engine's memory is that of the slot.
    bool is_slots(const std::uint8_t* pixels) const {
        const auto* const depth = reinterpret_cast<const std::uint8_t*>(slot.depth.data());
        return pixels == slot.image.data() || pixels == depth;
    }
    std::optional<WantPool> pool{std::in_place, 2, std::size_t{1} << 20,
                                 [this](const std::uint8_t* pixels) { return is_slots(pixels); }};
};

TEST_F(AWantPool, MakesWhatIsWantedAndGivesThePixelsBack) {
    const Observation obs = fulfilled(3, small_jpegs());
    EXPECT_EQ(slot.borrowed, 0);
    for (const CameraInfo& camera : obs.cameras) {
        EXPECT_EQ(camera.image_shape, (std::vector<int>{22, 22, 3}));
        EXPECT_EQ(camera.image_encoding, ImageEncoding::jpeg);
        EXPECT_EQ(camera.depth_shape, (std::vector<int>{22, 22}));
        EXPECT_EQ(camera.depth_encoding, DepthEncoding::millimetres);
        EXPECT_DOUBLE_EQ(camera.intrinsics(0, 0), 60.0 * 22 / 64);
        EXPECT_EQ(camera.sequence, 3u);
        std::vector<std::uint8_t> pixels(22 * 22 * 3);
        ImageDecoder().image({camera.image.data(), camera.image.size()}, ImageEncoding::jpeg, {{22, 22}, 3}, pixels.data());
        EXPECT_NEAR(pixels[0], 90, 2);
    }
}

TEST_F(AWantPool, MakesTheSameOnceForAllWhoWantIt) {
    const Observation first = fulfilled(3, small_jpegs());
    EXPECT_EQ(pool->made(), 4u);
    std::list<Observation> others;
    std::list<std::future<std::string>> done;
    for (int i = 0; i < 5; ++i) done.push_back(begin(others.emplace_back(observation(slot, 3)), small_jpegs()));
    for (auto& one : done) expect_done(one);
    EXPECT_EQ(pool->made(), 4u);
    EXPECT_EQ(others.back().cameras[0].image, first.cameras[0].image);
    fulfilled(4, small_jpegs());
    EXPECT_EQ(pool->made(), 8u) << "of another version";
    wire::WantRequest better = small_jpegs();
    better.want.all.quality = 90;
    fulfilled(4, better);
    EXPECT_EQ(pool->made(), 10u) << "the depth of which does not depend on the quality";
}

TEST_F(AWantPool, MakesTheSameOnceForWhoeverAsksAtOnce) {
    std::list<Observation> observations;
    std::list<std::future<std::string>> done;
    for (int i = 0; i < 20; ++i) done.push_back(begin(observations.emplace_back(observation(slot, 7)), small_jpegs()));
    for (auto& one : done) expect_done(one);
    EXPECT_EQ(pool->made(), 4u);
}

TEST_F(AWantPool, DoesNotShareWhatAHookHasPutInPlaceOfTheCamerasPixels) {
    fulfilled(3, small_jpegs());
    Observation own = observation(slot, 3);
    for (CameraInfo& camera : own.cameras) camera.image = std::vector<std::uint8_t>(48 * 64 * 3, 200);
    auto done = begin(own, small_jpegs());
    expect_done(done);
    std::vector<std::uint8_t> pixels(22 * 22 * 3);
    const CameraInfo& camera = own.cameras[0];
    ImageDecoder().image({camera.image.data(), camera.image.size()}, ImageEncoding::jpeg, {{22, 22}, 3}, pixels.data());
    EXPECT_NEAR(pixels[0], 200, 2);
}

TEST_F(AWantPool, LeavesWhatIsAsWishedWhereItIs) {
    const Observation obs = fulfilled(3, {});
    EXPECT_EQ(pool->made(), 0u);
    EXPECT_EQ(static_cast<const ByteBuffer&>(obs.cameras[0].image).data(), slot.image.data());
    EXPECT_EQ(obs.cameras[0].image_encoding, ImageEncoding::raw);
    EXPECT_EQ(obs.proprios.size(), 2u);
}

TEST_F(AWantPool, LeavesOutWhatIsNotWanted) {
    wire::WantRequest request;
    request.want.cameras["wrist"].image = ImageEncoding::none;
    request.want.cameras["head"].depth = DepthEncoding::none;
    request.want.proprios = std::vector<std::string>{"torque", "none of the robot's"};
    const Observation obs = fulfilled(3, request);
    EXPECT_TRUE(obs["wrist"].image.empty() && obs["wrist"].image_shape.empty());
    EXPECT_TRUE(obs["wrist"].has_depth);
    EXPECT_FALSE(obs["head"].has_depth);
    EXPECT_EQ(obs["head"].image.size(), slot.image.size());
    ASSERT_EQ(obs.proprios.size(), 1u);
    EXPECT_EQ(obs.proprios[0].name, "torque");
}

TEST_F(AWantPool, NamesWhatHasNotChangedAndSendsItNotAgain) {
    wire::WantRequest request = small_jpegs();
    request.want.only_if_newer = true;
    request.have = {{"wrist", {3, 3}}, {"head", {2, 3}}};
    const Observation obs = fulfilled(3, request);
    EXPECT_TRUE(obs["wrist"].image_unchanged && obs["wrist"].depth_unchanged);
    EXPECT_TRUE(obs["wrist"].image.empty() && obs["wrist"].depth_data.empty());
    EXPECT_EQ(obs["wrist"].image_shape, (std::vector<int>{22, 22, 3}));
    EXPECT_FALSE(obs["head"].image_unchanged);
    EXPECT_FALSE(obs["head"].image.empty());
    EXPECT_TRUE(obs["head"].depth_unchanged && obs["head"].depth_data.empty()) << "each by itself";
    EXPECT_FALSE(fulfilled(3, request, {100, 1.0, true})["wrist"].image_unchanged) << "the client has another size of it";
    request.want.only_if_newer = false;
    EXPECT_FALSE(fulfilled(3, request)["wrist"].image_unchanged) << "nobody asked for that";
}

TEST_F(AWantPool, CutsAWantDownToItsBudget) {
    const Observation full = fulfilled(3, small_jpegs());
    const Observation less = fulfilled(3, small_jpegs(), {10, 0.5});
    EXPECT_EQ(less.cameras[0].image_shape, (std::vector<int>{11, 11, 3}));
    EXPECT_EQ(less.cameras[0].depth_shape, (std::vector<int>{11, 11}));
    wire::WantRequest own_size;
    own_size.want.all.image = ImageEncoding::png;
    EXPECT_EQ(fulfilled(3, own_size, {10, 0.5}).cameras[0].image_shape, (std::vector<int>{24, 32, 3}));
}

TEST_F(AWantPool, DoesNotShareBytesThatOnlyClaimToBeTheEngines) {
    fulfilled(3, small_jpegs());
    Slot others;
    std::fill(others.image.begin(), others.image.end(), 200);
    Observation own = observation(others, 3);  // borrowed, with the numbers of the cameras
    auto done = begin(own, small_jpegs());
    expect_done(done);
    std::vector<std::uint8_t> pixels(22 * 22 * 3);
    const CameraInfo& camera = own.cameras[0];
    ImageDecoder().image({camera.image.data(), camera.image.size()}, ImageEncoding::jpeg, {{22, 22}, 3}, pixels.data());
    EXPECT_NEAR(pixels[0], 200, 2);
    wire::WantRequest newer = small_jpegs();
    newer.want.only_if_newer = true;
    newer.have = {{"wrist", {3, 3}}};
    Observation again = observation(others, 3);
    auto done_again = begin(again, newer);
    expect_done(done_again);
    EXPECT_FALSE(again["wrist"].image_unchanged) << "which the client cannot have";
}

TEST_F(AWantPool, SendsWhatItCannotScaleAsItIs) {
    Observation obs = observation(slot, 3);
    for (CameraInfo& camera : obs.cameras) {
        camera.image_dtype = "uint16";
        camera.image_shape = {24, 64, 3};
    }
    auto done = begin(obs, small_jpegs());
    expect_done(done);
    for (const CameraInfo& camera : obs.cameras) {
        EXPECT_EQ(camera.image.size(), slot.image.size());
        EXPECT_EQ(camera.image_encoding, ImageEncoding::raw);
        EXPECT_EQ(camera.depth_encoding, DepthEncoding::raw) << "of the size of the image";
        EXPECT_EQ(camera.intrinsics(0, 0), 60);
    }
}

TEST_F(AWantPool, MakesMetresOfDepthInUnitsThatAreKnown) {
    Observation obs = observation(slot, 3);
    for (CameraInfo& camera : obs.cameras) {
        camera.depth_dtype = "uint16";
        camera.depth_unit = 0.0001;
        camera.depth_data.borrow(slot.image.data(), 48 * 64 * sizeof(std::uint16_t), slot);  // 90 + 256 * 90 = 23130
    }
    obs.cameras[1].depth_unit = 0;  // nobody says what they are
    auto done = begin(obs, small_jpegs());
    expect_done(done);
    const CameraInfo& camera = obs.cameras[0];
    EXPECT_EQ(camera.depth_dtype, "float32");
    EXPECT_EQ(camera.depth_unit, 0);
    EXPECT_EQ(camera.depth_encoding, DepthEncoding::millimetres);
    std::vector<float> metres(22 * 22);
    ImageDecoder().depth({camera.depth_data.data(), camera.depth_data.size()}, camera.depth_encoding, {22, 22},
                         metres.data());
    EXPECT_FLOAT_EQ(metres[100], 2.313f);
    EXPECT_EQ(obs.cameras[1].depth_dtype, "uint16");
    EXPECT_EQ(obs.cameras[1].depth_encoding, DepthEncoding::raw);
}

TEST_F(AWantPool, MakesPicturesOfTheStreamsOfACameraAndPassesThemOnWhereTheyAreWanted) {
    EncodedImage stream;
    CameraWish as_jpeg;
    as_jpeg.image = ImageEncoding::jpeg;
    ImageEncoder().image(slot.image.data(), {vga, 3}, as_jpeg, stream);
    Slot camera_of_streams;
    camera_of_streams.image = stream.bytes;
    const auto seen = [&](const wire::WantRequest& request, std::size_t bytes) {
        Observation obs = observation(camera_of_streams, 5);
        for (CameraInfo& camera : obs.cameras) {
            camera.image_encoding = ImageEncoding::jpeg;
            camera.image.borrow(camera_of_streams.image.data(), bytes, camera_of_streams);
            camera.status = SourceStatus::fresh;
        }
        auto done = begin(obs, request);
        expect_done(done);
        return obs;
    };
    const Observation small = seen(small_jpegs(), stream.bytes.size());
    std::vector<std::uint8_t> pixels(22 * 22 * 3);
    ImageDecoder().image({small.cameras[0].image.data(), small.cameras[0].image.size()}, ImageEncoding::jpeg, {{22, 22}, 3},
                         pixels.data());
    EXPECT_NEAR(pixels[0], 90, 3);
    wire::WantRequest same;
    same.want.all.image = ImageEncoding::jpeg;
    EXPECT_EQ(seen(same, stream.bytes.size()).cameras[0].image, ByteBuffer(stream.bytes)) << "the very stream";
    const Observation raw = seen({}, stream.bytes.size());
    EXPECT_EQ(raw.cameras[0].image.size(), slot.image.size());
    EXPECT_NEAR(raw.cameras[0].image[0], 90, 3);
    for (const std::size_t bytes : {std::size_t{0}, stream.bytes.size() / 2}) {
        const Observation broken = seen(small_jpegs(), bytes);
        EXPECT_EQ(broken.cameras[0].status, SourceStatus::never) << bytes;
        EXPECT_EQ(broken.cameras[0].image_shape, (std::vector<int>{22, 22, 3}));
    }
}

TEST_F(AWantPool, ScalesAnImageOfTwoDimensions) {
    Observation obs = observation(slot, 3);
    obs.cameras[0].image_shape = {48, 64 * 3};
    auto done = begin(obs, small_jpegs());
    expect_done(done);
    EXPECT_EQ(obs.cameras[0].image_shape, (std::vector<int>{22, 22}));
    EXPECT_EQ(obs.cameras[0].image_encoding, ImageEncoding::jpeg);
}

TEST_F(AWantPool, KeepsNoMoreThanItMayWhateverIsWanted) {
    pool.emplace(2, 20'000, [this](const std::uint8_t* pixels) { return is_slots(pixels); });
    wire::WantRequest request;
    request.want.all.image = ImageEncoding::raw;
    for (int side = 10; side < 80; ++side) {
        request.want.all.size = {side, side};
        fulfilled(3, request);
        EXPECT_LE(pool->kept_bytes(), 20'000u);
    }
    EXPECT_GT(pool->kept_bytes(), 0u);
    const std::uint64_t before = pool->made();
    fulfilled(3, request);
    EXPECT_GT(pool->made(), before) << "one is larger than all that may be kept";
    request.want.all.size = {10, 10};
    fulfilled(3, request);
    const std::uint64_t small = pool->made();
    fulfilled(3, request);
    EXPECT_EQ(pool->made(), small);
}

TEST_F(AWantPool, MakesNothingForThoseWhoHaveGone) {
    std::promise<void> told;
    Observation obs = observation(slot, 3);
    pool->fulfil(obs, std::make_shared<const wire::WantRequest>(small_jpegs()), {},
                 customer([&](const std::string&) { told.set_value(); }, true));
    ASSERT_EQ(told.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
    EXPECT_EQ(pool->made(), 0u);
    EXPECT_EQ(obs.cameras[0].image.size(), slot.image.size());
}

TEST_F(AWantPool, WorksOnThreadsOfItsOwn) {
    std::set<std::thread::id> threads;
    std::mutex mutex;
    std::list<Observation> observations;
    std::list<std::promise<void>> done(6);
    for (auto& promise : done)
        pool->fulfil(observations.emplace_back(observation(slot, 1)),
                     std::make_shared<const wire::WantRequest>(small_jpegs()), {}, customer([&](const std::string&) {
                         {
                             const std::lock_guard lock(mutex);
                             threads.insert(std::this_thread::get_id());
                         }
                         promise.set_value();
                     }));
    for (auto& promise : done) ASSERT_EQ(promise.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
    EXPECT_FALSE(threads.contains(std::this_thread::get_id()));
    EXPECT_LE(threads.size(), 2u);
}

TEST_F(AWantPool, FinishesWhatItHasBegunBeforeItEnds) {
    std::list<Observation> observations;
    std::list<std::future<std::string>> done;
    for (std::uint64_t i = 1; i < 30; ++i)
        done.push_back(begin(observations.emplace_back(observation(slot, i)), small_jpegs()));
    pool->join();
    for (auto& one : done) EXPECT_EQ(one.wait_for(std::chrono::seconds(0)), std::future_status::ready);
    pool.reset();
    EXPECT_FALSE(observations.back().cameras[0].image.empty()) << "what was lent outlives the pool";
}

}  // namespace
}  // namespace chiral::imaging
