// SPDX-License-Identifier: Apache-2.0
// The arena: everything shared lies in it, it holds no pointer, and its report tells what was obtained.
#include "support.hpp"

#include "engine_state.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <new>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace chiral::test {
namespace {

using detail::CameraBlock;
using detail::EngineLayout;

const std::vector<CameraConfig>& cameras() {
    static const std::vector<CameraConfig> list{camera("wrist", 48, 64), camera("side", 31, 17, 1, false)};
    return list;
}
const std::vector<ProprioConfig>& streams() {
    static const std::vector<ProprioConfig> list{{"arm", 7}, {"grip", 1}};
    return list;
}

/// An engine of which the test knows the layout, and so where its arena begins.
struct Exposed {
    EngineOptions options;
    EngineLayout layout;
    Engine engine;
    Reader reader;
    std::byte* base;

    explicit Exposed(const EngineOptions& with)
        : options(with),
          layout(cameras(), streams(), with),
          engine(cameras(), streams(), with),
          reader(engine.make_reader()),
          // Slot 0 of every field is current until the first publication.
          base(first_slot_of(reader) - layout.cameras[0].slots[0]) {}

    static std::byte* first_slot_of(Reader& reader) {
        const Snapshot snapshot = reader.snapshot();
        return const_cast<std::byte*>(reinterpret_cast<const std::byte*>(snapshot.camera(0).image().data()));
    }

    bool holds(const void* from, std::size_t bytes) const {
        const auto* begin = static_cast<const std::byte*>(from);
        return begin >= base && begin + bytes <= base + layout.bytes;
    }
    // Every operation, so that every word in use has been written.
    void use(std::uint64_t rounds) {
        for (std::uint64_t n = 1; n <= rounds; ++n) {
            for (std::size_t index = 0; index < 2; ++index) {
                Frame frame = engine.begin_frame(index);
                fill(frame.image(), n);
                if (index == 0) fill(frame.depth(), static_cast<float>(n));
                frame.set_intrinsics(numbered_K(n));
                frame.set_extrinsics(numbered_T(n));
                ASSERT_TRUE(frame.commit(at_ns(static_cast<std::int64_t>(n))).ok());
            }
            const float arm[7] = {1, 2, 3, 4, 5, 6, 7};
            ASSERT_TRUE(engine.update_proprio(0, arm, 7, at_ns(static_cast<std::int64_t>(n))).ok());
            ASSERT_TRUE(engine.update_proprio(1, arm, 1, at_ns(static_cast<std::int64_t>(n))).ok());
            const Snapshot snapshot = reader.snapshot();
            ASSERT_TRUE(snapshot.intact());
        }
    }
};

TEST(TheArena, HoldsEveryBufferThatSnapshotsAndFramesHandOut) {
    Exposed exposed(with_readers(2));
    EXPECT_EQ(exposed.engine.arena().bytes, exposed.layout.bytes);
    Reader second = exposed.engine.make_reader();
    std::optional<Snapshot> held;
    for (int i = 0; i < 20; ++i) {
        for (std::size_t index = 0; index < 2; ++index) {
            Frame frame = exposed.engine.begin_frame(index);
            const std::span<std::uint8_t> image = frame.image();
            EXPECT_TRUE(exposed.holds(image.data(), image.size()));
            if (index == 0) {
                EXPECT_TRUE(exposed.holds(frame.depth().data(), frame.depth().size_bytes()));
            }
            ASSERT_TRUE(frame.commit().ok());
        }
        const Snapshot snapshot = exposed.reader.snapshot();
        for (std::size_t index = 0; index < 2; ++index) {
            const CameraView view = snapshot.camera(index);
            EXPECT_TRUE(exposed.holds(view.image().data(), view.image().size()));
            EXPECT_TRUE(exposed.holds(view.depth().data(), view.depth().size_bytes()));
            EXPECT_TRUE(exposed.holds(view.intrinsics().data(), view.intrinsics().size_bytes()));
            EXPECT_TRUE(exposed.holds(view.extrinsics().data(), view.extrinsics().size_bytes()));
        }
        if (i % 3 == 0) {
            held.reset();
            held.emplace(second.snapshot());
        }
    }
}

TEST(TheArena, LiesWhereTheEmbedderWantsIt) {
    std::byte* given = nullptr;
    int freed = 0;
    EngineOptions options;
    options.memory = [&](std::size_t size) {
        void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (address == MAP_FAILED) throw std::bad_alloc();
        given = static_cast<std::byte*>(address);
        return std::shared_ptr<std::byte>(given, [size, &freed](std::byte* memory) {
            munmap(memory, size);
            ++freed;
        });
    };
    {
        Exposed arena(options);
        EXPECT_EQ(arena.base, given);
        arena.use(3);
        const Snapshot snapshot = arena.reader.snapshot();
        EXPECT_TRUE(arena.holds(snapshot.camera(0).image().data(), snapshot.camera(0).image().size()));
        EXPECT_EQ(snapshot.camera(0).sequence(), 3u);
        EXPECT_EQ(freed, 0);
    }
    EXPECT_EQ(freed, 1);
}

TEST(TheArena, LeavesTheEmbeddersMemoryToItsChildrenWhenItIsGone) {
    std::shared_ptr<std::byte> given;
    EngineOptions options;
    options.memory = [&](std::size_t size) {
        void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (address == MAP_FAILED) throw std::bad_alloc();
        given = {static_cast<std::byte*>(address), [size](std::byte* memory) { munmap(memory, size); }};
        return given;
    };
    { Engine engine({camera()}, {}, options); }
    given.get()[0] = std::byte{7};
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) _exit(given.get()[0] == std::byte{7} ? 0 : 1);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST(TheArena, LaysImagesAndDepthsOnPagesAndMatricesApart) {
    Exposed exposed(with_readers(3));
    for (const detail::CameraLayout& layout : exposed.layout.cameras)
        for (std::size_t f = 0; f < 4; ++f) {
            const std::size_t alignment = f < 2 ? 4096 : 2 * core::kCacheLine;
            EXPECT_EQ(layout.slots[f] % alignment, 0u);
            EXPECT_EQ(layout.stride[f] % alignment, 0u);
            EXPECT_GE(layout.stride[f], layout.bytes[f]);
        }
    // No two regions overlap, and the last one ends the arena.
    std::vector<std::pair<std::size_t, std::size_t>> regions{
        {exposed.layout.seats, sizeof(core::ReaderSeats<detail::Policy>)}};
    for (const detail::CameraLayout& layout : exposed.layout.cameras) {
        regions.emplace_back(layout.block, sizeof(CameraBlock));
        regions.emplace_back(layout.seats, sizeof(core::ReaderSeats<detail::Policy>));
        for (std::size_t f = 0; f < 4; ++f) regions.emplace_back(layout.slots[f], 5 * layout.stride[f]);
    }
    for (const detail::ProprioLayout& layout : exposed.layout.proprios) {
        regions.emplace_back(layout.block, sizeof(detail::ProprioBlock));
        regions.emplace_back(layout.cells, 256 * (1 + layout.words) * sizeof(std::uint64_t));
    }
    std::sort(regions.begin(), regions.end());
    for (std::size_t i = 1; i < regions.size(); ++i)
        EXPECT_LE(regions[i - 1].first + regions[i - 1].second, regions[i].first) << i;
    EXPECT_EQ(regions.back().first + regions.back().second, exposed.layout.bytes);
}

TEST(TheArena, HoldsNoPointerIntoItself) {
    Exposed exposed(with_readers(2));
    exposed.use(50);
    Snapshot pinned = exposed.reader.snapshot();
    Frame open = exposed.engine.begin_frame(0);
    ASSERT_FALSE(open.image().empty());
    const auto first = reinterpret_cast<std::uintptr_t>(exposed.base);
    std::size_t pointers = 0;
    for (std::size_t offset = 0; offset + sizeof(std::uintptr_t) <= exposed.layout.bytes; offset += sizeof(std::uintptr_t)) {
        std::uintptr_t word;
        std::memcpy(&word, exposed.base + offset, sizeof word);
        pointers += word >= first && word < first + exposed.layout.bytes;
    }
    EXPECT_EQ(pointers, 0u);
}

TEST(TheArena, CopiedToAnotherAddressIsReadByOffsetsAlone) {
    Exposed exposed(with_readers(2));
    exposed.use(37);
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    const std::size_t room = (exposed.layout.bytes + 4095) / 4096 * 4096;
    const std::unique_ptr<std::byte, Free> copy(static_cast<std::byte*>(std::aligned_alloc(4096, room)));
    ASSERT_NE(copy, nullptr);
    std::memcpy(copy.get(), exposed.base, exposed.layout.bytes);
    exposed.use(1);  // the original moves on
    for (const detail::CameraLayout& layout : exposed.layout.cameras) {
        auto& block = *std::launder(reinterpret_cast<CameraBlock*>(copy.get() + layout.block));
        const core::View view = block.sync.pin(1);
        EXPECT_EQ(view.version(), 37u);
        EXPECT_EQ(block.news[0].look(block.sync, 0), 37u);
        for (int f = 0; f < 4; ++f) {
            if (layout.bytes[static_cast<std::size_t>(f)] == 0) continue;
            EXPECT_EQ(block.stamps[static_cast<std::size_t>(f)][static_cast<std::size_t>(view.slot(f))].sequence(), 37u);
        }
        const auto slot = layout.slots[0] + static_cast<std::size_t>(view.slot(0)) * layout.stride[0];
        EXPECT_EQ(number_in({reinterpret_cast<const std::uint8_t*>(copy.get() + slot), layout.bytes[0]}), 37u);
        block.sync.unpin(1, view);
    }
    const detail::ProprioLayout& arm = exposed.layout.proprios[0];
    core::SampleRing<detail::Policy> ring(
        std::launder(reinterpret_cast<detail::ProprioBlock*>(copy.get() + arm.block))->head,
        std::launder(reinterpret_cast<detail::Policy::Atomic<std::uint64_t>*>(copy.get() + arm.cells)),
        exposed.options.proprio_history, arm.words);
    ASSERT_EQ(ring.newest(), 37u);
    std::vector<std::uint64_t> sample(arm.words);
    ASSERT_TRUE(ring.read(37, sample.size(), [&](std::size_t i, std::uint64_t word) { sample[i] = word; }));
    EXPECT_EQ(sample[0], 37u) << "captured";
}

// ---- what was obtained ----

TEST(TheArenaReport, WithoutWishesTellsTheSizeOnly) {
    Engine engine(cameras(), streams());
    const ArenaReport& report = engine.arena();
    EXPECT_GT(report.bytes, 3u * 48 * 64 * (3 + sizeof(float)));
    EXPECT_EQ(report.page_bytes, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
    EXPECT_FALSE(report.locked);
    EXPECT_TRUE(report.lock_error.empty());
    EXPECT_TRUE(report.huge_pages_error.empty());
    EXPECT_NE(report.summary().find("prefaulted"), std::string::npos) << report.summary();
    EXPECT_EQ(report.summary().find("locked"), std::string::npos) << report.summary();
}

TEST(TheArenaReport, OfLockedMemoryAgreesWithTheKernelOrTellsWhyNot) {
    // Small enough for the usual limit, and larger than any.
    for (const int side : {64, 4096}) {
        const auto locked_kilobytes = [] {
            std::ifstream status("/proc/self/status");
            std::size_t kilobytes = 0;
            for (std::string line; std::getline(status, line);)
                if (line.starts_with("VmLck:")) std::sscanf(line.c_str(), "VmLck: %zu kB", &kilobytes);
            return kilobytes;
        };
        const std::size_t before = locked_kilobytes();
        EngineOptions options;
        options.lock_memory = true;
        Engine engine({camera("big", side, side)}, {}, options);
        const ArenaReport& report = engine.arena();
        EXPECT_EQ(report.locked, report.lock_error.empty()) << report.lock_error;
        if (report.locked) {
            // Sanitizers make mlock do nothing and say that it succeeded.
            if (!kSanitized) {
                EXPECT_GE((locked_kilobytes() - before) * 1024, report.bytes);
            }
            EXPECT_NE(report.summary().find(", locked"), std::string::npos) << report.summary();
        } else {
            EXPECT_EQ(locked_kilobytes(), before);
            EXPECT_NE(report.lock_error.find("mlock"), std::string::npos) << report.lock_error;
            EXPECT_NE(report.lock_error.find("ulimit -l"), std::string::npos) << "tells what to do";
            EXPECT_NE(report.summary().find("not locked"), std::string::npos) << report.summary();
        }
    }
}

TEST(TheArenaReport, OfHugePagesAgreesWithWhatWasObtainedOrTellsWhyNot) {
    constexpr std::size_t kHuge = std::size_t{2} << 20;
    EngineOptions options;
    options.huge_pages = true;
    // Several at once: neighbours in memory must not be counted as one's own.
    std::vector<std::unique_ptr<Engine>> engines;
    for (const int side : {256, 700, 1024, 300}) {
        engines.push_back(
            std::make_unique<Engine>(std::vector{camera("big", side, side)}, std::vector<ProprioConfig>{}, options));
        const ArenaReport& report = engines.back()->arena();
        const std::size_t mapped = (report.bytes + kHuge - 1) / kHuge * kHuge;
        EXPECT_LE(report.huge_page_bytes, mapped);
        EXPECT_EQ(report.huge_page_bytes % kHuge, 0u);
        if (report.huge_page_bytes > 0) {
            EXPECT_EQ(report.page_bytes, kHuge);
            EXPECT_NE(report.summary().find("on huge pages"), std::string::npos) << report.summary();
        } else {
            EXPECT_EQ(report.page_bytes, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
        }
        // Fewer than asked for: there is a reason.
        if (report.huge_page_bytes < mapped) {
            EXPECT_FALSE(report.huge_pages_error.empty()) << report.summary();
        }
    }
}

TEST(TheArenaReport, OfAnEngineOnHugePagesGoesWithAnEngineThatWorks) {
    EngineOptions options = with_readers(1);
    options.huge_pages = true;
    options.lock_memory = true;
    Exposed exposed(options);
    exposed.use(20);
    EXPECT_EQ(newest_number(exposed.reader), 20u);
}

}  // namespace
}  // namespace chiral::test
