/* What every one of our servers does as a program. */
#ifndef COMMON_PROGRAM_H
#define COMMON_PROGRAM_H

/* Before any thread exists: SIGTERM, SIGINT and SIGHUP (but under nohup) are blocked, to be waited for below; SIGPIPE is
 * ignored; as many files may be open as the system allows this user. */
void program_start(void);
/* Waits for one of them; its number. */
int program_wait(void);

#endif
