return {
  title = "Rules for all of them",
  text = [[
- **Success** returns values. **What can go wrong at run time** returns `nil, message, code`; so `assert(call())` gives
  the value or stops with the message. **Mistakes in the program** raise at the caller's line: an argument of a wrong
  type, an unknown option, a closed object. A value of the right type outside its limits is returned (`"EINVAL"`).
- Functions with many arguments take one **options table**. It is copied, by raw access: no metamethod runs, and what
  happens to it afterwards changes nothing.
- **Units**: bytes; milliseconds; tokens. Token ids and positions count from 0, places in Lua lists from 1.
- **Objects** (engine, tokenizer, session, job, packed tokens) have `close()`, which may be called twice; on Lua 5.4
  they can be to-be-closed variables. The collector closes what is forgotten. Their `tostring` names type and state.
- Any coroutine may call anything. C never yields and never calls back from another thread.
- **Failures** are listed with each function; one without a list cannot fail. `ENOMEM` is not listed again: it can come
  from every function that can fail.]],
  codes = {
    { "EINVAL", "a value is out of range" },
    { "ENOENT", "there is no such file, or the model has no tokenizer" },
    { "EIO", "the system could not read or write" },
    { "EFORMAT", "a file is not what it says" },
    { "EUNSUPPORTED", "it is, but this version cannot use it" },
    { "EMODEL", "a file belongs to another model" },
    { "ENOMEM", "no memory" },
    { "ENOSPC", "no room on the disk" },
    { "EBUSY", "a job runs on the session, or the job has not ended" },
    { "ECTXFULL", "the session's context is full" },
    { "ECANCELED", "ended by a call; a job that is cancelled or late has a result instead (`finish_reason`)" },
    { "EDEADLINE", "a request's budget was spent before an answer was begun" },
    { "ECLOSED", "reserved: no function returns it yet" },
    { "ENODEV", "the backend that was asked for cannot run here" },
    { "EHOOK", "a function of yours raised (`on_event`, or a hook of an agent); the message is what it raised" },
    { "ETOOL", "a call of a tool was begun, and nobody knows how it ended" },
  },
}
