// A stack of its own for a thread's signal handlers.
//
// Measured on an AMD EPYC: with a signal each 2 ms the fused blocks corrupted the heap within seconds, plain Paddle did not;
// with another stack for handlers they do not. So something keeps values further below the stack pointer than the ABI
// grants (128 bytes), most likely oneDNN's generated products: no compiler does. Python's handlers take the other stack
// where there is one (SA_ONSTACK, since 3.10).
#pragma once

#include <signal.h>

#include <memory>

namespace mae {

class SignalStack {
 public:
  SignalStack() {
    stack_t now;
    if (sigaltstack(nullptr, &now) != 0 || !(now.ss_flags & SS_DISABLE)) return;  // faulthandler made one
    memory_.reset(new char[kBytes]);
    stack_t own{};
    own.ss_sp = memory_.get();
    own.ss_size = kBytes;
    if (sigaltstack(&own, nullptr) != 0) memory_.reset();
  }

  ~SignalStack() {
    stack_t now;
    if (!memory_ || sigaltstack(nullptr, &now) != 0 || now.ss_sp != memory_.get()) return;
    now.ss_flags = SS_DISABLE;
    sigaltstack(&now, nullptr);
  }

 private:
  static constexpr size_t kBytes = 1 << 16;  // a frame with AVX-512 and AMX registers takes 11 KB
  std::unique_ptr<char[]> memory_;
};

// Give this thread one, until it ends.
inline void own_signal_stack() { static thread_local SignalStack stack; }

}  // namespace mae
