#include "blockcore/engine/thread_engine.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <climits>

namespace hull::blockcore {

namespace {

// Enough to keep a disk's queue busy; more threads gain little and cost start-up and memory.
constexpr size_t kMaxWorkers = 8;

// Low bit of epoll's data, which is zero in the pointers that are the rest of it.
constexpr uint64_t kSocketTag = 1;

}  // namespace

Result<std::unique_ptr<IoEngine>> ThreadEngine::create() {
  EventFd wake = TRY(EventFd::create());
  EventFd done = TRY(EventFd::create());
  UniqueFd epoll = TRY(create_epoll());
  auto engine = std::unique_ptr<ThreadEngine>(
      new ThreadEngine(std::move(wake), std::move(epoll), std::move(done)));
  if (auto added = engine->add_own_descriptors(); !added)
    return std::unexpected(std::move(added).error());
  return std::unique_ptr<IoEngine>(std::move(engine));
}

ThreadEngine::ThreadEngine(EventFd wake, UniqueFd epoll, EventFd done)
    : IoEngine(std::move(wake)),
      epoll_(std::move(epoll)),
      done_event_(std::move(done)),
      max_workers_(kMaxWorkers) {}

ThreadEngine::~ThreadEngine() {
  CHECK(idle());
  {
    const MutexLock lock(mutex_);
    quit_ = true;
  }
  work_available_.notify_all();
  for (Thread& worker : workers_) worker.join();
}

Result<UniqueFd> ThreadEngine::create_epoll() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return std::unexpected(Error::from_errno("epoll_create1"));
  return UniqueFd(fd);
}

// The wake descriptor is level-triggered and is read; data.ptr is null for the completions.
Result<void> ThreadEngine::add_own_descriptors() {
  if (auto added = add_to_epoll(wake_fd(), EPOLLIN, this); !added) return added;
  return add_to_epoll(done_event_.fd(), EPOLLIN, nullptr);
}

Result<void> ThreadEngine::add_to_epoll(int fd, uint32_t events, void* data) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = data;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0)
    return std::unexpected(Error::from_errno("epoll_ctl"));
  return {};
}

Result<void> ThreadEngine::watch(int event_fd, std::function<void()> readable) {
  auto entry = std::make_unique<Watch>(Watch{.fd = event_fd, .readable = std::move(readable)});
  if (auto added = add_to_epoll(event_fd, EPOLLIN | EPOLLET, entry.get()); !added) return added;
  watches_.push_back(std::move(entry));
  return {};
}

void ThreadEngine::unwatch(int event_fd) {
  const auto found = std::find_if(watches_.begin(), watches_.end(), [event_fd](const auto& entry) {
    return entry->fd == event_fd && !entry->removed;
  });
  if (found == watches_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, event_fd, nullptr);
  (*found)->removed = true;  // freed by the next run_once(): its handler may be running
}

void ThreadEngine::submit(IoOperation& operation) {
  CHECK(operation.buffers.size() <= IOV_MAX);
  pending_.push(operation);
}

// What a worker has begun is the kernel's. Sockets are shut down by those who gave them up.
void ThreadEngine::take_back(int fd, IoOperationList& taken) {
  pending_.take(fd, taken);
  IoOperationList queued;
  const MutexLock lock(mutex_);
  queue_.take(fd, queued);
  while (!queued.empty()) {
    taken.push(queued.pop());
    --in_flight_;
    --queued_;
  }
}

void ThreadEngine::run_once(bool deliver_watches) {
  std::erase_if(watches_, [](const auto& entry) { return entry->removed; });
  if (pending_.single() && in_flight_ == 0 && watches_.empty() && !has_posted()) {
    IoOperation& only = pending_.pop();
    finish(only, perform(only));
    return;
  }
  if (deliver_watches && dispatch_watches()) return;
  hand_out_pending();
  if (finish_transferred()) return;
  if (deliver_watches && (turn_clients() || !clients_may_sleep())) return;
  wait_for_events();
  if (deliver_watches) dispatch_watches();
}

void ThreadEngine::hand_out_pending() {
  if (pending_.empty()) return;
  IoOperationList of_files;
  while (!pending_.empty()) {
    IoOperation& operation = pending_.pop();
    ++in_flight_;
    if (is_of_socket(operation))
      try_socket(operation);
    else
      of_files.push(operation);
  }
  if (of_files.empty()) return;
  size_t backlog;
  size_t handed_out = 0;
  {
    const MutexLock lock(mutex_);
    while (!of_files.empty()) {
      queue_.push(of_files.pop());
      ++queued_;
      ++handed_out;
    }
    backlog = queued_ > idle_workers_ ? queued_ - idle_workers_ : 0;
  }
  for (size_t i = 0; i < std::min(handed_out, workers_.size()); ++i) work_available_.notify_one();
  start_workers(std::min(backlog, max_workers_ - workers_.size()));
}

void ThreadEngine::try_socket(IoOperation& operation) {
  operation.result = attempt(operation);
  if (operation.result == -EAGAIN)
    wait_for_socket(operation);
  else
    transferred_.push(operation);
}

void ThreadEngine::wait_for_socket(IoOperation& operation) {
  auto found = std::find_if(sockets_.begin(), sockets_.end(),
                            [&](const auto& socket) { return socket->fd == operation.fd; });
  const bool known = found != sockets_.end();
  if (!known)
    found = sockets_.insert(sockets_.end(), std::make_unique<Socket>(Socket{.fd = operation.fd}));
  Socket& socket = **found;
  IoOperation*& place =
      operation.kind == IoOperation::Kind::kReceive ? socket.receive : socket.send;
  CHECK(place == nullptr);
  place = &operation;
  if (wait_for(socket, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD) == 0) return;
  operation.result = -errno;
  transferred_.push(operation);
  place = nullptr;
  if (!known) sockets_.pop_back();
}

int ThreadEngine::wait_for(Socket& socket, int action) {
  epoll_event event{};
  if (socket.receive != nullptr) event.events |= EPOLLIN;
  if (socket.send != nullptr) event.events |= EPOLLOUT;
  event.data.u64 = reinterpret_cast<uint64_t>(&socket) | kSocketTag;
  return ::epoll_ctl(epoll_.get(), action, socket.fd, &event);
}

// What is still not possible is waited for again; an entry that nobody waits for goes.
void ThreadEngine::on_socket_event(Socket& socket, uint32_t events) {
  IoOperation* const receive = (events & ~uint32_t{EPOLLOUT}) != 0 ? socket.receive : nullptr;
  IoOperation* const send = (events & ~uint32_t{EPOLLIN}) != 0 ? socket.send : nullptr;
  if (receive != nullptr) retry(socket.receive);
  if (send != nullptr) retry(socket.send);
  if (socket.receive != nullptr || socket.send != nullptr) {
    wait_for(socket, EPOLL_CTL_MOD);
    return;
  }
  wait_for(socket, EPOLL_CTL_DEL);
  std::erase_if(sockets_, [&](const auto& entry) { return entry.get() == &socket; });
}

void ThreadEngine::retry(IoOperation*& operation) {
  operation->result = attempt(*operation);
  if (operation->result == -EAGAIN) return;
  transferred_.push(*operation);
  operation = nullptr;
}

// True if a coroutine was resumed. Those that it starts wait for the next turn.
bool ThreadEngine::finish_transferred() {
  IoOperationList done;
  std::swap(done, transferred_);
  if (done.empty()) return false;
  while (!done.empty()) {
    IoOperation& operation = done.pop();
    --in_flight_;
    finish(operation, operation.result);
  }
  return true;
}

void ThreadEngine::start_workers(size_t count) {
  for (; count > 0; --count) {
    Result<Thread> worker = start_thread(ThreadKind::kFile, "file", [this] { work(); });
    if (!worker) {
      // With none at all the next request tries again: the limit may be another's fault.
      if (workers_.empty()) return perform_queued();
      max_workers_ = workers_.size();
      return;
    }
    workers_.push_back(*std::move(worker));
  }
}

void ThreadEngine::perform_queued() {
  const MutexLock lock(mutex_);
  while (!queue_.empty()) {
    IoOperation& operation = queue_.pop();
    --queued_;
    operation.result = perform(operation);
    transferred_.push(operation);
  }
}

void ThreadEngine::work() {
  mutex_.lock();
  for (;;) {
    while (queue_.empty() && !quit_) {
      ++idle_workers_;
      work_available_.wait(mutex_);
      --idle_workers_;
    }
    if (queue_.empty()) break;
    IoOperation& operation = queue_.pop();
    --queued_;
    mutex_.unlock();
    operation.result = perform(operation);
    mutex_.lock();
    const bool first = done_.empty();
    done_.push(operation);
    if (first) done_event_.signal();
  }
  mutex_.unlock();
}

void ThreadEngine::wait_for_events() {
  std::array<epoll_event, 64> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
  CHECK(count >= 0 || errno == EINTR);
  bool completed = false;
  bool posted = false;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    void* const data = event.data.ptr;
    if ((event.data.u64 & kSocketTag) != 0) {
      on_socket_event(*std::bit_cast<Socket*>(event.data.u64 & ~kSocketTag), event.events);
    } else if (data == nullptr) {
      completed = true;
    } else if (data == this) {
      posted = true;
    } else {
      static_cast<Watch*>(data)->signalled = true;
      watch_signalled_ = true;
    }
  }
  if (completed) collect_completions();
  finish_transferred();
  if (posted) run_posted();
}

void ThreadEngine::collect_completions() {
  done_event_.consume();
  IoOperationList done;
  {
    const MutexLock lock(mutex_);
    std::swap(done, done_);
  }
  while (!done.empty()) {
    IoOperation& operation = done.pop();
    --in_flight_;
    finish(operation, operation.result);
  }
}

// True if a handler was called. Handlers may watch and unwatch.
bool ThreadEngine::dispatch_watches() {
  if (!watch_signalled_) return false;
  watch_signalled_ = false;
  for (size_t i = 0; i < watches_.size(); ++i) {
    Watch& entry = *watches_[i];
    if (!std::exchange(entry.signalled, false) || entry.removed) continue;
    entry.readable();
  }
  return true;
}

}  // namespace hull::blockcore
