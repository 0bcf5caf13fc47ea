//! The environment variables of a pool's workers.

use crate::pool::api::builder::PoolBuilder;

impl PoolBuilder {
    /// Sets an environment variable in every worker, before the initializer. Default: the workers
    /// have the host's environment at the time of [`build`](PoolBuilder::build), with
    /// `OMP_NUM_THREADS` and similar variables set to 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).env("GREETING", "hello").build()?;
    /// let task = pool.submit(|()| std::env::var("GREETING").unwrap(), ())?;
    /// assert_eq!(task.join()?, "hello");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> PoolBuilder {
        self.config.settings.env.insert(name.into(), value.into());
        self
    }

    /// Removes an environment variable from every worker; a later [`env`](PoolBuilder::env) sets it
    /// again. The fork server does not have it either, unless another pool or process has already
    /// started that. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).env_remove("PATH").build()?;
    /// let task = pool.submit(|()| std::env::var_os("PATH").is_some(), ())?;
    /// assert!(!task.join()? && std::env::var_os("PATH").is_some());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn env_remove(mut self, name: impl Into<String>) -> PoolBuilder {
        let name = name.into();
        self.config.settings.env.remove(&name);
        self.config.settings.env_removed.insert(name);
        self
    }

    /// As [`env_remove`](PoolBuilder::env_remove), but what [`env`](PoolBuilder::env) sets stays
    /// set, before or after: for libraries that remove variables and leave the choice to their
    /// callers.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let builder = Pool::builder().workers(1).env("PATH", "/opt").env_remove_inherited("PATH");
    /// let pool = builder.build()?;
    /// let task = pool.submit(|()| std::env::var("PATH").ok(), ())?;
    /// assert_eq!(task.join()?.as_deref(), Some("/opt"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn env_remove_inherited(mut self, name: impl Into<String>) -> PoolBuilder {
        self.config.settings.env_removed.insert(name.into());
        self
    }
}
