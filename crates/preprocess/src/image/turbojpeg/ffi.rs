//! libturbojpeg.so.0, loaded at run time: the functions of the TurboJPEG API that versions 2 and 3 share.
//!
//! Why unsafe: the library is C. What makes it sound: the signatures are those of `turbojpeg.h` since 1.5; a handle is made and destroyed here
//! alone and used by one caller at a time (`&mut`); the library reads exactly the input slice, and writes at most `pitch * height` bytes,
//! which is checked against the output slice first.
#![allow(unsafe_code, reason = "std has no way to call a C library; see above")]

use libloading::{Library, Symbol};
use std::ffi::{CStr, c_char, c_int, c_uchar, c_ulong, c_void};
use std::fmt;
use std::ptr::NonNull;

/// The library's name, the same in versions 2 and 3 (and 1.x, which lack a function and are refused).
const LIBRARY: &str = "libturbojpeg.so.0";

/// Pixel formats (`enum TJPF`).
pub(super) const RGB: c_int = 0;
pub(super) const GRAY: c_int = 6;
/// Colour spaces of files (`enum TJCS`).
pub(super) const FILE_RGB: c_int = 0;
pub(super) const FILE_YCBCR: c_int = 1;
pub(super) const FILE_GRAY: c_int = 2;
/// A warning ends decoding: damaged files are refused rather than shown as far as they go (`TJFLAG_STOPONWARNING`).
const STOP_ON_WARNING: c_int = 8_192;
/// At most 500 scans (`TJFLAG_LIMITSCANS`); ours are counted beforehand, this is the second line.
const LIMIT_SCANS: c_int = 32_768;

type Handle = NonNull<c_void>;
type InitDecompress = unsafe extern "C" fn() -> *mut c_void;
type Destroy = unsafe extern "C" fn(*mut c_void) -> c_int;
type ErrorText = unsafe extern "C" fn(*mut c_void) -> *const c_char;
type DecompressHeader = unsafe extern "C" fn(
    handle: *mut c_void,
    file: *const c_uchar,
    file_bytes: c_ulong,
    width: *mut c_int,
    height: *mut c_int,
    subsampling: *mut c_int,
    colour_space: *mut c_int,
) -> c_int;
type Decompress = unsafe extern "C" fn(
    handle: *mut c_void,
    file: *const c_uchar,
    file_bytes: c_ulong,
    pixels: *mut c_uchar,
    width: c_int,
    pitch: c_int,
    height: c_int,
    pixel_format: c_int,
    flags: c_int,
) -> c_int;

/// A decompressor of the library.
pub(super) struct Decompressor {
    handle: Handle,
    init: InitDecompress,
    destroy: Destroy,
    error_text: ErrorText,
    header: DecompressHeader,
    decompress: Decompress,
    version: u32,
    /// Last, so that the library outlives what came from it.
    _library: Library,
}

// SAFETY: needed because of the pointer. The library keeps no state per thread that a handle refers to, and a handle is never shared.
unsafe impl Send for Decompressor {}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decompressor of {LIBRARY}, TurboJPEG {}", self.version)
    }
}

/// The system's words, where it has some.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// A function of the library as a plain pointer; the library must be kept as long as it is called.
///
/// # Safety
/// `T` must be the function's type.
unsafe fn find<T: Copy>(library: &Library, name: &'static str) -> Result<T, String> {
    // SAFETY: promised by the caller.
    let symbol: Result<Symbol<'_, T>, _> = unsafe { library.get(name.as_bytes()) };
    symbol.map(|symbol| *symbol).map_err(|e| format!("{LIBRARY} lacks {name} ({e}); version 2.0 or newer has it"))
}

/// What a file's header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub width: u32,
    pub height: u32,
    pub colour_space: c_int,
}

impl Decompressor {
    /// Loads the library and makes a decompressor.
    ///
    /// # Errors
    /// A line that says what is missing.
    pub fn load() -> Result<Self, String> {
        // SAFETY: the library's initialisers are those of a codec: they set up tables.
        let library =
            unsafe { Library::new(LIBRARY) }.map_err(|e| format!("{}; Debian has it in libturbojpeg0", cause(&e)))?;
        // SAFETY: the types are those of turbojpeg.h; `tjGetErrorStr2` marks version 2.0, `tj3Init` version 3.
        let (init, destroy, error_text, header, decompress, version) = unsafe {
            let version = if find::<InitDecompress>(&library, "tj3Init").is_ok() { 3 } else { 2 };
            (
                find::<InitDecompress>(&library, "tjInitDecompress")?,
                find::<Destroy>(&library, "tjDestroy")?,
                find::<ErrorText>(&library, "tjGetErrorStr2")?,
                find::<DecompressHeader>(&library, "tjDecompressHeader3")?,
                find::<Decompress>(&library, "tjDecompress2")?,
                version,
            )
        };
        // SAFETY: takes nothing; null if there is no memory.
        let handle = NonNull::new(unsafe { init() }).ok_or_else(|| format!("{LIBRARY} gave no decompressor"))?;
        Ok(Self { handle, init, destroy, error_text, header, decompress, version, _library: library })
    }

    /// Major version of the API that the library offers: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Reads the header.
    ///
    /// # Errors
    /// The library's own words.
    pub fn header(&mut self, file: &[u8]) -> Result<Header, String> {
        let (mut width, mut height, mut subsampling, mut colour_space) = (0, 0, 0, 0);
        // SAFETY: the input is a slice, the results are local variables.
        let rc = unsafe {
            (self.header)(
                self.handle.as_ptr(),
                file.as_ptr(),
                file.len() as c_ulong,
                &raw mut width,
                &raw mut height,
                &raw mut subsampling,
                &raw mut colour_space,
            )
        };
        if rc != 0 {
            return Err(self.fail());
        }
        match (u32::try_from(width), u32::try_from(height)) {
            (Ok(width), Ok(height)) => Ok(Header { width, height, colour_space }),
            _ => Err(format!("a header of {width}x{height}")),
        }
    }

    /// Decodes into `pixels`, which must be `width * height` times the format's bytes; the library takes the largest scale that does not exceed
    /// `width` and `height`.
    ///
    /// # Errors
    /// The library's own words.
    ///
    /// # Panics
    /// If `pixels` has another length: a bug of the caller.
    pub fn decode(
        &mut self,
        file: &[u8],
        width: u32,
        height: u32,
        gray: bool,
        pixels: &mut [u8],
    ) -> Result<(), String> {
        let (format, channels) = if gray { (GRAY, 1) } else { (RGB, 3) };
        let pitch = width as usize * channels;
        assert_eq!(pixels.len(), pitch * height as usize, "a buffer of the picture's size");
        // SAFETY: the input is a slice; the output has `pitch * height` bytes, and no scale that fits into width and height needs more.
        let rc = unsafe {
            (self.decompress)(
                self.handle.as_ptr(),
                file.as_ptr(),
                file.len() as c_ulong,
                pixels.as_mut_ptr(),
                width as c_int,
                pitch as c_int,
                height as c_int,
                format,
                STOP_ON_WARNING | LIMIT_SCANS,
            )
        };
        if rc == 0 { Ok(()) } else { Err(self.fail()) }
    }

    /// What went wrong, and a fresh handle: one that has failed may take the next file for the rest of the damaged one.
    fn fail(&mut self) -> String {
        // SAFETY: the handle lives; the text ends in zero and stays until the next call with this handle.
        let text = unsafe { CStr::from_ptr((self.error_text)(self.handle.as_ptr())) }.to_string_lossy().into_owned();
        // SAFETY: takes nothing; null if there is no memory, and then the old handle has to do.
        if let Some(fresh) = NonNull::new(unsafe { (self.init)() }) {
            let old = std::mem::replace(&mut self.handle, fresh);
            // SAFETY: made by the same library, destroyed once: nobody has it any more.
            unsafe { (self.destroy)(old.as_ptr()) };
        }
        text
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: made by the same library, destroyed once.
        unsafe { (self.destroy)(self.handle.as_ptr()) };
    }
}
