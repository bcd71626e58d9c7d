// A few aligned buffers for requests that O_DIRECT cannot take as they are; whoever finds none free
// waits its turn.
#pragma once

#include <coroutine>
#include <cstddef>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace hull::blockcore {

class BouncePool {
 public:
  static constexpr size_t kBufferBytes = 256 << 10;
  static constexpr size_t kMaxBuffers = 8;

  // RAII over one buffer of kBufferBytes.
  class Buffer {
   public:
    Buffer(Buffer&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), memory_(other.memory_) {}
    Buffer& operator=(Buffer&&) = delete;
    ~Buffer() {
      if (pool_ != nullptr) pool_->give_back(memory_);
    }
    std::span<std::byte> bytes() const { return {memory_, kBufferBytes}; }

   private:
    friend class BouncePool;
    Buffer(BouncePool& pool, std::byte* memory) : pool_(&pool), memory_(memory) {}
    BouncePool* pool_;
    std::byte* memory_;
  };

  // `alignment` is a power of two.
  explicit BouncePool(size_t alignment) : alignment_(alignment) {}
  ~BouncePool();
  BouncePool(const BouncePool&) = delete;
  BouncePool& operator=(const BouncePool&) = delete;

  auto take() { return Awaiter{*this}; }  // co_await pool.take() is a Buffer

 private:
  struct Awaiter {
    BouncePool& pool;
    std::byte* memory = nullptr;
    std::coroutine_handle<> waiting = {};
    bool await_ready() { return (memory = pool.find_free()) != nullptr; }
    void await_suspend(std::coroutine_handle<> awaiting) {
      waiting = awaiting;
      pool.waiting_.push_back(this);
    }
    Buffer await_resume() { return Buffer(pool, memory); }
  };
  struct Free {
    void operator()(void* memory) const;
  };

  std::byte* find_free();
  void give_back(std::byte* memory);

  const size_t alignment_;
  std::vector<std::unique_ptr<std::byte, Free>> owned_;
  std::vector<std::byte*> free_;
  std::deque<Awaiter*> waiting_;
  bool resuming_ = false;
};

}  // namespace hull::blockcore
