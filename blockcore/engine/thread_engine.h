// IoEngine over plain system calls in a few threads, for hosts that refuse io_uring. Threads start
// when work waits for them; completions come back to the engine's thread. Where the host refuses
// a further thread, those that are there do the work; where it refuses even the first, the
// engine's own thread does.
#pragma once

#include <condition_variable>

#include "base/thread.h"
#include "blockcore/engine/io_engine.h"

namespace hull::blockcore {

class ThreadEngine : public IoEngine {
 public:
  static Result<std::unique_ptr<IoEngine>> create();
  ~ThreadEngine() override;
  std::string_view name() const override { return "threads"; }
  Result<void> watch(int event_fd, std::function<void()> readable) override;
  void unwatch(int event_fd) override;

 protected:
  ThreadEngine(EventFd wake, UniqueFd epoll, EventFd done);

  // What create() does after it has made an engine (of a derived class).
  Result<void> add_own_descriptors();
  static Result<UniqueFd> create_epoll();

  void submit(IoOperation& operation) override;
  void take_back(int fd, IoOperationList& taken) override;
  void enter() override {}
  void run_once(bool deliver_watches) override;
  bool idle() const override { return pending_.empty() && in_flight_ == 0; }

 private:
  struct Watch {
    int fd;
    std::function<void()> readable;
    bool removed = false;
    bool signalled = false;
  };
  // What waits for one socket.
  struct Socket {
    int fd;
    IoOperation* receive = nullptr;
    IoOperation* send = nullptr;
  };

  Result<void> add_to_epoll(int fd, uint32_t events, void* data);
  void hand_out_pending();
  void try_socket(IoOperation& operation);
  void wait_for_socket(IoOperation& operation);
  int wait_for(Socket& socket, int action);  // as epoll_ctl
  void on_socket_event(Socket& socket, uint32_t events);
  void retry(IoOperation*& operation);
  bool finish_transferred();
  void start_workers(size_t count);
  void perform_queued();
  void work();
  void wait_for_events();
  void collect_completions();
  bool dispatch_watches();

  const UniqueFd epoll_;
  const EventFd done_event_;

  // The engine's thread only.
  IoOperationList pending_;
  unsigned in_flight_ = 0;
  std::vector<std::unique_ptr<Watch>> watches_;
  bool watch_signalled_ = false;
  // Sockets never occupy a worker: they are tried, and then waited for with epoll.
  std::vector<std::unique_ptr<Socket>> sockets_;
  IoOperationList transferred_;  // whose coroutines have to be resumed
  std::vector<Thread> workers_;
  size_t max_workers_;

  Mutex mutex_;
  std::condition_variable_any work_available_;
  IoOperationList queue_ GUARDED_BY(mutex_);
  IoOperationList done_ GUARDED_BY(mutex_);
  unsigned queued_ GUARDED_BY(mutex_) = 0;
  unsigned idle_workers_ GUARDED_BY(mutex_) = 0;
  bool quit_ GUARDED_BY(mutex_) = false;
};

}  // namespace hull::blockcore
