// SPDX-License-Identifier: Apache-2.0
// No allocation, no lock and no page fault on any update, pin or release (I7). Each trap is first shown to work.
#include "support.hpp"
#include "traps.hpp"
#include "workload.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <shared_mutex>

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace chiral::test {
namespace {

// Keeps the compiler from leaving out an allocation that nobody uses.
void use(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

TEST(TheAllocationTrap, CatchesNewAndMallocAndTheStandardLibrary) {
    const Trapped before = trapped();
    use(std::make_unique<int>(5).get());
    EXPECT_EQ(trapped().allocations, before.allocations + 1);
    EXPECT_EQ(trapped().frees, before.frees + 1);
    void* memory = std::malloc(100);
    use(memory);
    std::free(memory);
    EXPECT_EQ(trapped().allocations, before.allocations + 2);
    const std::string text(1000, 'x');
    use(text.data());
    EXPECT_EQ(trapped().allocations, before.allocations + 3);
    struct alignas(256) Line {
        char bytes[256];
    };
    use(std::make_unique<Line>().get());
    EXPECT_EQ(trapped().allocations, before.allocations + 4);
}

TEST(TheAllocationTrap, CatchesTheEngineWhereItDoesAllocate) {
    Subject subject;
    const Trapped before = trapped();
    const std::string message = subject.engine.update_image(0, nullptr, 0).message();
    EXPECT_GT(trapped().allocations, before.allocations) << "an error message, which is put together when asked for";
}

TEST(TheLockTrap, CatchesStandardMutexes) {
    std::mutex mutex;
    std::shared_mutex shared;
    const Trapped before = trapped();
    { const std::lock_guard lock(mutex); }
    { const std::unique_lock lock(shared); }
    { const std::shared_lock lock(shared); }
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
    EXPECT_EQ(trapped().locks, before.locks + 4);
}

class TheHotPath : public ::testing::TestWithParam<Work> {};

TEST_P(TheHotPath, NeitherAllocatesNorFreesNorLocks) {
    for (const int readers : {1, 2, 14}) {
        Subject subject(readers);
        // Not even the first time: no warm-up here.
        ASSERT_EQ(run(subject, Work::waits_that_do_not_sleep, 1), 0u);
        const Trapped before = trapped();
        const std::uint64_t wrong = run(subject, GetParam(), 500);
        const Trapped after = trapped();
        EXPECT_EQ(wrong, 0u);
        EXPECT_EQ(after.allocations, before.allocations);
        EXPECT_EQ(after.frees, before.frees);
        EXPECT_EQ(after.locks, before.locks);
    }
}

TEST_P(TheHotPath, NeitherAllocatesNorLocksWhileOtherThreadsContend) {
    Subject subject(2);
    std::atomic<bool> stop{false};
    std::thread other([&] {
        Reader reader = subject.engine.make_reader();
        while (!stop.load()) {
            const Snapshot snapshot = reader.snapshot();
            (void)snapshot.camera(0).image()[0];
        }
    });
    const Trapped before = trapped();
    const std::uint64_t wrong = run(subject, GetParam(), 300);
    const Trapped after = trapped();
    stop.store(true);
    other.join();
    EXPECT_EQ(wrong, 0u);
    EXPECT_TRUE(after == before);
}

INSTANTIATE_TEST_SUITE_P(I7, TheHotPath, ::testing::ValuesIn(kAllWork), [](const auto& param) {
    std::string name = to_string(param.param);
    std::erase(name, ' ');
    return name;
});

// ---- page faults ----

long minor_faults() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_minflt;
}

TEST(TheFirstTouchOfEverySlot, TakesNoPageFault) {
    constexpr int kReaders = 3;
    constexpr int kSide = 1024;
    constexpr std::size_t kPage = 4096;
    EngineOptions options = with_readers(kReaders);
    Engine engine({camera("big", kSide, kSide, 3, true)}, {{"arm", 4096}}, options);
    std::vector<Reader> readers;
    for (int i = 0; i < kReaders; ++i) readers.push_back(engine.make_reader());
    std::vector<Snapshot> pinned;
    pinned.reserve(kReaders);
    std::array<float, 4096> arm{};
    std::array<const void*, kReaders + 1> slots{};
    // The code's own pages, and this function's stack.
    ASSERT_TRUE(engine.update_proprio(0, arm.data(), arm.size()).ok());
    { const Frame frame = engine.begin_frame(0); }
    { const Snapshot snapshot = readers[0].snapshot(); }
    minor_faults();

    std::size_t wrong = 0;
    const long before = minor_faults();
    for (std::size_t i = 0; i < slots.size(); ++i) {
        // Every reader holds another slot, so the writer comes to all of them; slot 0 was written at construction.
        Frame frame = engine.begin_frame(0);
        slots[i] = frame.image().data();
        fill(frame.image(), i + 1);
        fill(frame.depth(), static_cast<float>(i));
        frame.set_intrinsics(numbered_K(i));
        frame.set_extrinsics(numbered_T(i));
        wrong += !frame.commit().ok();
        if (i < kReaders) pinned.push_back(readers[i].snapshot());
    }
    for (int i = 0; i < 300; ++i) wrong += !engine.update_proprio(0, arm.data(), arm.size()).ok();  // once around the ring
    const long faults = minor_faults() - before;
    EXPECT_EQ(wrong, 0u);
    std::sort(slots.begin(), slots.end());
    EXPECT_EQ(std::unique(slots.begin(), slots.end()), slots.end()) << "all of them were touched";

    // The control: as much memory, but not prefaulted.
    const std::size_t bytes = slots.size() * kSide * kSide * 7;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    const long before_control = minor_faults();
    fill(std::span(static_cast<std::uint8_t*>(memory), bytes), 1);
    const long control = minor_faults() - before_control;
    munmap(memory, bytes);
    EXPECT_GE(control, static_cast<long>(bytes / kPage / 64)) << "even if the kernel maps many pages per fault";
    EXPECT_EQ(faults, 0) << "against " << control << " of the control";
}

/// A child process that holds a copy of this one until it is let go.
class ForkedChild {
public:
    ForkedChild() {
        int ends[2];
        if (pipe(ends) != 0) return;
        child_ = fork();
        if (child_ == 0) {
            close(ends[1]);
            char byte;
            static_cast<void>(!read(ends[0], &byte, 1));  // ends when the parent closes its end
            _exit(0);
        }
        close(ends[0]);
        hold_ = ends[1];
    }
    ForkedChild(const ForkedChild&) = delete;
    ~ForkedChild() {
        if (child_ <= 0) return;
        close(hold_);
        waitpid(child_, nullptr, 0);
    }
    bool lives() const { return child_ > 0; }

private:
    pid_t child_{-1};
    int hold_{-1};
};

TEST(UpdatesAfterAFork, TakeNoPageFaults) {
    constexpr std::size_t kSide = 512, kBytes = kSide * kSide * 3;
    constexpr std::size_t kSlots = 3;
    constexpr std::size_t kPage = 4096;
    for (const bool lock_memory : {false, true}) {
        EngineOptions options = with_readers(kSlots - 2);
        options.lock_memory = lock_memory;
        Engine engine({camera("big", kSide, kSide, 3, false)}, {}, options);
        const std::vector<std::uint8_t> image(kBytes, 7);
        // The control: an ordinary mapping of the same size, touched before as the engine's is.
        void* memory = mmap(nullptr, kSlots * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(memory, MAP_FAILED);
        madvise(memory, kSlots * kBytes, MADV_NOHUGEPAGE);
        const std::span<std::uint8_t> ordinary(static_cast<std::uint8_t*>(memory), kSlots * kBytes);
        fill(ordinary, 1);
        for (std::size_t i = 0; i < kSlots; ++i) ASSERT_TRUE(engine.update_image(0, image.data(), kBytes).ok());
        Reader reader = engine.make_reader();
        const ForkedChild child;
        ASSERT_TRUE(child.lives());
        std::size_t wrong = 0;
        const long before = minor_faults();
        for (std::size_t i = 0; i < 2 * kSlots; ++i) {
            wrong += !engine.update_image(0, image.data(), kBytes).ok();
            const Snapshot snapshot = reader.snapshot();  // so that the next ones know of a look
            wrong += snapshot.camera(0).image().size() != kBytes;
        }
        const long faults = minor_faults() - before;
        const long before_control = minor_faults();
        fill(ordinary, 2);
        const long control = minor_faults() - before_control;
        munmap(memory, kSlots * kBytes);
        EXPECT_EQ(wrong, 0u);
        EXPECT_GE(control, static_cast<long>(kSlots * kBytes / kPage / 64));
        // This thread's own stack and the program's data were copied as well: a handful of pages.
        EXPECT_LE(faults, 16) << "against " << control << " of the control, lock_memory " << lock_memory;
    }
}

// ---- memory that runs out, and small stacks ----

TEST(MakingAReader, ThatFindsNoMemoryKeepsNoSeat) {
    Engine engine({camera()}, {{"arm", 7}}, with_readers(1));
    int failures = 0;
    for (std::int64_t allocation = 0;; ++allocation) {
        fail_one_allocation(allocation);
        try {
            const Reader reader = engine.make_reader();
            fail_one_allocation(-1);
            break;
        } catch (const std::bad_alloc&) {
            ++failures;
        }
    }
    EXPECT_GT(failures, 0);
    EXPECT_NO_THROW(static_cast<void>(engine.make_reader()));
}

/// Runs `work` on a thread with the smallest stack there is, 16 KiB on most machines, and leaves with status 0.
template <class Work>
[[noreturn]] void exit_after_small_stack(Work work) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, static_cast<std::size_t>(sysconf(_SC_THREAD_STACK_MIN)));
    pthread_t thread;
    const auto start = [](void* call) -> void* {
        (*static_cast<Work*>(call))();
        return nullptr;
    };
    if (pthread_create(&thread, &attributes, start, &work) != 0) _exit(1);
    pthread_join(thread, nullptr);
    _exit(0);
}

TEST(AThreadWithTheSmallestStack, WritesAndReadsTheLargestSamples) {
    const auto work = [] {
        Engine engine({camera()}, {{"skin", 4096}}, with_readers(1));
        Reader reader = engine.make_reader();
        std::vector<float> values(4096, 1.f), got(4096);
        exit_after_small_stack([&] {
            for (std::int64_t n = 1; n <= 3; ++n)
                if (!engine.update_proprio(0, values.data(), values.size(), at_ns(1000 * n)).ok()) _exit(2);
            if (engine.latest_proprio(0, got) != ProprioRead::latest) _exit(3);
            if (engine.proprio_at(0, at_ns(1500), got) != ProprioRead::interpolated || got != values) _exit(4);
            const Snapshot snapshot = reader.snapshot(at_ns(2500));
            if (snapshot.proprio(0).how() != ProprioRead::interpolated) _exit(5);
            if (!engine.update_intrinsics(0, asymmetric_K()).ok()) _exit(6);
        });
    };
    EXPECT_EXIT(work(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace chiral::test
