// SPDX-License-Identifier: Apache-2.0
// Between threads that are not Python's and an interpreter that may end at any time.
//
// CPython ends a thread that asks for the GIL while the interpreter is finalised, by an unwinding that no destructor may see.
// So nothing of ours may ask for it then: sections that run without the GIL are counted, and shut_down(), which atexit calls
// while Python still runs, ends what blocks, waits for the hooks that stop the robot, lets no new sections begin, and waits for
// those that there are. A hook that is still running Python
// code then ends where its thread asks for the GIL: see call_python().
//
// References that are dropped where the GIL is not held, on the network thread above all, are kept for whoever holds it next.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace chiral::python {

namespace nb = nanobind;

/// Releases the GIL for a bounded piece of work, such as a copy. While the interpreter ends it keeps it instead.
class GilFree {
public:
    GilFree() noexcept;
    ~GilFree();
    GilFree(const GilFree&) = delete;
    GilFree& operator=(const GilFree&) = delete;

    /// False while the interpreter ends. Whoever waits for another thread then waits in vain.
    bool released() const noexcept { return state_ != nullptr; }
    /// Takes it back for as long as `work` lasts, which must not throw.
    template <class Work>
    void interrupt_for(Work work) noexcept {
        if (state_ != nullptr) PyEval_RestoreThread(state_);
        work();
        if (state_ != nullptr) state_ = PyEval_SaveThread();
    }

private:
    PyThreadState* state_{nullptr};
};

/// Runs `work`, which may block, without the GIL; throws std::runtime_error while the interpreter ends. On the main thread
/// signals are looked at every now and then: an exception of theirs, KeyboardInterrupt above all, calls `cancel`, which must
/// make `work` return, and is raised. On other threads `work` runs on the caller's.
void block_without_gil(const std::function<void()>& work, const std::function<void()>& cancel);
/// The same for requests and actions of a client, which look up while they wait (see chiral::Lookout) and so need no other thread:
/// making one takes longer than a small observation.
void ask_without_gil(const std::function<void()>& work, const std::function<void()>& cancel);

/// Something with threads of its own, ended when the interpreter ends. Registered while it lives.
class Endable {
public:
    Endable();
    Endable(const Endable&) = delete;
    Endable& operator=(const Endable&) = delete;

    /// Makes what blocks return soon. Called without the GIL.
    virtual void end() noexcept = 0;
    /// What returns when none of its hooks runs any more, or nothing. Called without the GIL, after end(); what is returned is called
    /// on a thread of its own, and keeps alive what it needs.
    virtual std::function<void()> last_hooks() { return {}; }
    /// Throws RuntimeError in a process that was forked off after construction: its threads are the parent's.
    void require_own_process(const char* what) const;
    bool own_process() const noexcept;

protected:
    ~Endable() { retire(); }
    /// First thing in the destructor of whoever overrides end(), which is not called afterwards.
    void retire() noexcept;

private:
    unsigned fork_generation_;
};

/// How many forks lie between the first process and this one.
unsigned fork_generation() noexcept;

/// Holds what reaches into the memory of a server's slots, which a child of fork() does not have: there it is left as it is.
template <class Value>
class OfThisProcess {
public:
    explicit OfThisProcess(std::unique_ptr<Value> value) noexcept : value_(std::move(value)) {}
    OfThisProcess(const OfThisProcess&) = delete;
    ~OfThisProcess() {
        if (fork_ != fork_generation()) static_cast<void>(value_.release());
    }

    Value& operator*() const noexcept { return *value_; }
    Value* operator->() const noexcept { return value_.get(); }

private:
    std::unique_ptr<Value> value_;
    unsigned fork_{fork_generation()};
};

/// Calls `work` with the GIL on a thread of ours; throws std::runtime_error while the interpreter ends. Drops references first
/// that others have left.
void with_gil(const std::function<void()>& work);

/// callable.name(arguments...) with the GIL held, where nothing may be destroyed if the interpreter ends meanwhile: the thread
/// then stops for ever, as threads do from Python 3.14 on. Throws std::runtime_error with the exception as one line.
nb::object call_python(nb::handle object, const char* name, std::initializer_list<nb::handle> arguments);

/// Runs `work` on a thread of its own, which the end of the interpreter waits for.
void in_background(std::function<void()> work);

/// What still has a reference that the GIL is needed for.
struct Grave {
    PyObject* object{nullptr};
    Grave* next{nullptr};
    void (*free)(Grave*){nullptr};
};
/// Any thread, with or without the GIL; wait-free but for other buriers.
void bury(Grave& grave) noexcept;
/// Drops what has been buried. Needs the GIL.
void drop_buried() noexcept;

/// Ends all servers and clients, waits for their last hooks, and then for what runs without the GIL: some seconds at most for
/// each of the two. Called by atexit.
void shut_down();
void after_fork_in_child() noexcept;

}  // namespace chiral::python
