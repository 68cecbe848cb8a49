//! Java's numbers: how they print, how they are read, and the arithmetic of Velocity 1.7
//! (`MathUtils`).
//!
//! Whole numbers grow from int to long to big integer; a big integer with a double makes a big
//! decimal.

use std::cmp::Ordering;

use num_bigint::{BigInt, Sign};

/// Bits a big number may have; what grows beyond it by multiplying itself is stopped.
pub(crate) const MAX_BITS: u64 = 200_000;

/// A number with a power of ten: `unscaled` × 10^−`scale`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BigDecimal {
    pub unscaled: BigInt,
    pub scale: i32,
}

fn ten_to(power: u32) -> BigInt {
    BigInt::from(10).pow(power)
}

impl BigDecimal {
    /// Java's `new BigDecimal(String)`.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => {
                let digits = &text[at + 1..];
                let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
                if unsigned.is_empty()
                    || unsigned.len() > 10
                    || !unsigned.bytes().all(|b| b.is_ascii_digit())
                {
                    return None;
                }
                (&text[..at], digits.parse::<i64>().ok()?)
            }
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let unsigned = whole.strip_prefix(['+', '-']).unwrap_or(whole);
        if unsigned.len() + fraction.len() == 0
            || !unsigned.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let digits = format!("{whole}{fraction}");
        let unscaled = digits.strip_prefix('+').unwrap_or(&digits).parse().ok()?;
        let scale = i32::try_from(fraction.len() as i64 - exponent).ok()?;
        Some(BigDecimal { unscaled, scale })
    }

    pub fn from_int(number: BigInt) -> Self {
        BigDecimal { unscaled: number, scale: 0 }
    }

    /// Java's `new BigDecimal(double)`: every binary digit. `None` for infinities and NaN.
    pub fn from_double(number: f64) -> Option<Self> {
        if !number.is_finite() {
            return None;
        }
        let bits = number.to_bits();
        let raw = ((bits >> 52) & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let (mut significand, mut exponent) =
            if raw == 0 { (fraction << 1, -1075) } else { (fraction | (1 << 52), raw - 1075) };
        if significand == 0 {
            return Some(BigDecimal::from_int(BigInt::ZERO));
        }
        while significand & 1 == 0 {
            significand >>= 1;
            exponent += 1;
        }
        let mut unscaled = BigInt::from(significand);
        if number < 0.0 {
            unscaled = -unscaled;
        }
        Some(if exponent >= 0 {
            BigDecimal::from_int(unscaled << exponent as u32)
        } else {
            BigDecimal {
                unscaled: unscaled * BigInt::from(5).pow((-exponent) as u32),
                scale: -exponent,
            }
        })
    }

    fn digits(&self) -> String {
        self.unscaled.magnitude().to_string()
    }

    /// The power of ten of the first digit.
    fn adjusted(&self) -> i64 {
        self.digits().len() as i64 - 1 - i64::from(self.scale)
    }

    pub fn to_double(&self) -> f64 {
        format!("{}e{}", self.unscaled, -i64::from(self.scale)).parse().unwrap_or(f64::NAN)
    }

    /// The whole part; `None` if it has too many digits.
    pub fn to_int(&self) -> Option<BigInt> {
        if self.scale <= 0 {
            if i64::from(self.scale) < -20_000 {
                return None;
            }
            return Some(&self.unscaled * ten_to((-self.scale) as u32));
        }
        if self.adjusted() < 0 {
            return Some(BigInt::ZERO);
        }
        Some(&self.unscaled / ten_to(self.scale as u32))
    }

    /// Both with the same scale; `None` if that would take absurdly many digits.
    fn aligned(&self, other: &Self) -> Option<(BigInt, BigInt, i32)> {
        let scale = self.scale.max(other.scale);
        let lift = |number: &Self| {
            let by = i64::from(scale) - i64::from(number.scale);
            (by <= 20_000).then(|| &number.unscaled * ten_to(by as u32))
        };
        Some((lift(self)?, lift(other)?, scale))
    }

    pub fn compare(&self, other: &Self) -> Ordering {
        let signs = self.unscaled.sign().cmp(&other.unscaled.sign());
        if signs != Ordering::Equal || self.unscaled.sign() == Sign::NoSign {
            return signs;
        }
        let size = self.adjusted().cmp(&other.adjusted());
        let ordering = if size != Ordering::Equal {
            size
        } else {
            match self.aligned(other) {
                Some((left, right, _)) => return left.cmp(&right),
                None => self.digits().cmp(&other.digits()),
            }
        };
        if self.unscaled.sign() == Sign::Minus { ordering.reverse() } else { ordering }
    }

    fn join(&self, other: &Self, join: fn(BigInt, BigInt) -> BigInt) -> Option<Self> {
        let (left, right, scale) = self.aligned(other)?;
        Some(BigDecimal { unscaled: join(left, right), scale })
    }

    fn multiply(&self, other: &Self) -> Option<Self> {
        if self.unscaled.bits() + other.unscaled.bits() > MAX_BITS {
            return None;
        }
        Some(BigDecimal {
            unscaled: &self.unscaled * &other.unscaled,
            scale: self.scale.checked_add(other.scale)?,
        })
    }

    /// Java's `divide(BigDecimal, ROUND_HALF_DOWN)`: keeps the scale of the left side.
    fn divide(&self, other: &Self) -> Option<Self> {
        let (mut left, mut right) = (self.unscaled.clone(), other.unscaled.clone());
        // left × 10^−s1 / (right × 10^−s2) at scale s1: left × 10^s2 / right.
        let by = i64::from(other.scale);
        if by.abs() > 20_000 {
            return None;
        }
        if by >= 0 {
            left *= ten_to(by as u32);
        } else {
            right *= ten_to((-by) as u32);
        }
        let quotient = &left / &right;
        let remainder = left - &quotient * &right;
        let doubled = BigInt::from(remainder.magnitude().clone()) * 2;
        let up = doubled > BigInt::from(right.magnitude().clone());
        let negative = (remainder.sign() == Sign::Minus) != (right.sign() == Sign::Minus);
        let unscaled = match (up, negative) {
            (false, _) => quotient,
            (true, false) => quotient + 1,
            (true, true) => quotient - 1,
        };
        Some(BigDecimal { unscaled, scale: self.scale })
    }
}

impl std::fmt::Display for BigDecimal {
    /// Java's `BigDecimal.toString`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.digits();
        let sign = if self.unscaled.sign() == Sign::Minus { "-" } else { "" };
        if self.scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let adjusted = digits.len() as i64 - 1 - i64::from(self.scale);
        if self.scale > 0 && adjusted >= -6 {
            let scale = self.scale as usize;
            if digits.len() > scale {
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                return write!(f, "{sign}{whole}.{fraction}");
            }
            return write!(f, "{sign}0.{}{digits}", "0".repeat(scale - digits.len()));
        }
        let (first, rest) = digits.split_at(1);
        write!(f, "{sign}{first}")?;
        if !rest.is_empty() {
            write!(f, ".{rest}")?;
        }
        if adjusted != 0 {
            write!(f, "E{adjusted:+}")?;
        }
        Ok(())
    }
}

/// Lays digits out as Java does: plain between 10^-3 and 10^7, otherwise with an exponent.
/// `exponent` is that of the first digit.
fn layout(digits: &str, exponent: i32, out: &mut String) {
    if (-3..7).contains(&exponent) {
        if exponent < 0 {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
            out.push_str(digits);
        } else {
            let whole = exponent as usize + 1;
            if digits.len() <= whole {
                out.push_str(digits);
                out.extend(std::iter::repeat_n('0', whole - digits.len()));
                out.push_str(".0");
            } else {
                out.push_str(&digits[..whole]);
                out.push('.');
                out.push_str(&digits[whole..]);
            }
        }
        return;
    }
    out.push_str(&digits[..1]);
    out.push('.');
    out.push_str(if digits.len() > 1 { &digits[1..] } else { "0" });
    out.push('E');
    out.push_str(&exponent.to_string());
}

/// Bits of 5^n, as Java estimates them.
const BITS_OF_5: [u32; 27] = [
    0, 3, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33, 35, 38, 40, 42, 45, 47, 49, 52, 54, 56,
    59, 61,
];

fn bits_of_5(power: u32) -> u32 {
    BITS_OF_5.get(power as usize).copied().unwrap_or(power * 3)
}

/// Decimal digits that carry no information in a whole number above 2^53, by how far it is above.
const INSIGNIFICANT: [u32; 64] = [
    0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9,
    9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15, 15, 16, 16,
    16, 17, 17, 17, 18, 18, 18, 19,
];

/// The digits that Java prints for a positive number, and the power of ten of the first.
///
/// Java up to 18 doesn't always find the shortest digits; this goes the same way (Steele and
/// White's algorithm with Java's stopping rules). `fraction` is normalised to 53 bits; its value is
/// fraction × 2^(exponent − 52).
fn java_digits(fraction: u64, exponent: i32, significant_bits: i32) -> (String, i32) {
    const SHIFT: i32 = 52;
    let tail = fraction.trailing_zeros() as i32;
    let fraction_bits = SHIFT + 1 - tail;
    let tiny_bits = (fraction_bits - exponent - 1).max(0);
    if (-21..=62).contains(&exponent) && tiny_bits == 0 && fraction_bits < 64 {
        let drop = if exponent > significant_bits {
            INSIGNIFICANT.get((exponent - significant_bits - 1) as usize).copied().unwrap_or(0)
        } else {
            0
        };
        let drop = if exponent - significant_bits - 1 > 1 { drop } else { 0 };
        let mut value = if exponent >= SHIFT {
            fraction << (exponent - SHIFT)
        } else {
            fraction >> (SHIFT - exponent)
        };
        let mut power = 0;
        if drop > 0 {
            let ten = 10u64.pow(drop);
            let rest = value % ten;
            value /= ten;
            power += drop as i32;
            if rest >= ten / 2 {
                value += 1;
            }
        }
        let digits = value.to_string();
        let first = digits.len() as i32 - 1 + power;
        return (digits.trim_end_matches('0').to_owned(), first);
    }
    let unit = f64::from_bits((1023 << 52) | (fraction & ((1 << 52) - 1)));
    // Java's own constants, to their last digit.
    #[allow(clippy::approx_constant)]
    let estimate =
        (unit - 1.5) * 0.289529654 + 0.176091259 + f64::from(exponent) * 0.301029995663981;
    let mut decimal = estimate.floor() as i32;
    let b5 = (-decimal).max(0);
    let mut b2 = b5 + tiny_bits + exponent;
    let s5 = decimal.max(0);
    let mut s2 = s5 + tiny_bits;
    let mut m2 = b2 - significant_bits;
    let fraction = fraction >> tail;
    b2 -= fraction_bits - 1;
    let common = b2.min(s2);
    b2 -= common;
    s2 -= common;
    m2 -= common;
    if fraction_bits == 1 {
        m2 -= 1;
    }
    if m2 < 0 {
        b2 -= m2;
        s2 -= m2;
        m2 = 0;
    }
    let b_bits = fraction_bits as u32 + b2 as u32 + bits_of_5(b5 as u32);
    let ten_s_bits = s2 as u32 + 1 + bits_of_5(s5 as u32 + 1);
    let mut digits: Vec<u8> = Vec::with_capacity(20);
    let (low, high, difference): (bool, bool, Ordering);
    if b_bits < 64 && ten_s_bits < 64 {
        // Java's m overflows at the width of the integers it chose.
        let overflow: i128 = if b_bits < 32 && ten_s_bits < 32 { 1 << 31 } else { 1 << 63 };
        let five = |power: i32| 5i128.pow(power as u32);
        let mut b: i128 = (i128::from(fraction) * five(b5)) << b2;
        let s: i128 = five(s5) << s2;
        let mut m: i128 = five(b5) << m2;
        let tens: i128 = s * 10;
        let mut q = b / s;
        b = 10 * (b % s);
        m *= 10;
        let (mut is_low, mut is_high) = (b < m, b + m > tens);
        if q == 0 && !is_high {
            decimal -= 1;
        } else {
            digits.push(b'0' + q as u8);
        }
        if !(-3..8).contains(&decimal) {
            is_low = false;
            is_high = false;
        }
        while !is_low && !is_high {
            q = b / s;
            b = 10 * (b % s);
            m *= 10;
            if m < overflow {
                is_low = b < m;
                is_high = b + m > tens;
            } else {
                is_low = true;
                is_high = true;
            }
            digits.push(b'0' + q as u8);
        }
        b *= 2;
        (low, high, difference) = (is_low, is_high, b.cmp(&tens));
    } else {
        let five = |power: i32| BigInt::from(5).pow(power as u32);
        let mut b: BigInt = (BigInt::from(fraction) * five(b5)) << b2 as u32;
        let s: BigInt = five(s5) << s2 as u32;
        let mut m: BigInt = (five(b5) << m2 as u32) * 10;
        let tens: BigInt = &s * 10;
        let step = |b: &mut BigInt| {
            let q = &*b / &s;
            *b = (&*b - &q * &s) * 10;
            u8::try_from(&q).unwrap_or(0)
        };
        let mut q = step(&mut b);
        let (mut is_low, mut is_high) = (b < m, &b + &m >= tens);
        if q == 0 && !is_high {
            decimal -= 1;
        } else {
            digits.push(b'0' + q);
        }
        if !(-3..8).contains(&decimal) {
            is_low = false;
            is_high = false;
        }
        while !is_low && !is_high {
            q = step(&mut b);
            m *= 10;
            is_low = b < m;
            is_high = &b + &m >= tens;
            digits.push(b'0' + q);
        }
        b *= 2;
        (low, high, difference) = (is_low, is_high, b.cmp(&tens));
    }
    if high {
        let odd = digits.last().is_some_and(|digit| digit & 1 == 1);
        if !low || difference == Ordering::Greater || (difference == Ordering::Equal && odd) {
            // Round up, carrying over nines.
            let kept = digits.iter().rposition(|digit| *digit != b'9');
            match kept {
                Some(at) => {
                    digits[at] += 1;
                    digits[at + 1..].fill(b'0');
                }
                None => {
                    digits.fill(b'0');
                    digits[0] = b'1';
                    decimal += 1;
                }
            }
        }
    }
    (String::from_utf8(digits).unwrap_or_default(), decimal)
}

/// Java's `Double.toString`.
pub(crate) fn push_double(number: f64, out: &mut String) {
    if number.is_nan() {
        out.push_str("NaN");
        return;
    }
    if number.is_sign_negative() {
        out.push('-');
    }
    let number = number.abs();
    if number.is_infinite() {
        out.push_str("Infinity");
    } else if number == 0.0 {
        out.push_str("0.0");
    } else {
        let bits = number.to_bits();
        let raw = (bits >> 52) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let (fraction, exponent, significant) = if raw == 0 {
            let shift = fraction.leading_zeros() as i32 - 11;
            (fraction << shift, 1 - shift, 64 - fraction.leading_zeros() as i32)
        } else {
            (fraction | (1 << 52), raw, 53)
        };
        let (digits, first) = java_digits(fraction, exponent - 1023, significant);
        layout(&digits, first, out);
    }
}

/// Java's `Float.toString`.
pub(crate) fn push_float(number: f32, out: &mut String) {
    if number.is_nan() {
        out.push_str("NaN");
        return;
    }
    if number.is_sign_negative() {
        out.push('-');
    }
    let number = number.abs();
    if number.is_infinite() {
        out.push_str("Infinity");
    } else if number == 0.0 {
        out.push_str("0.0");
    } else {
        let bits = number.to_bits();
        let raw = (bits >> 23) as i32;
        let fraction = u64::from(bits & ((1 << 23) - 1));
        let (fraction, exponent, significant) = if raw == 0 {
            let shift = fraction.leading_zeros() as i32 - 40;
            (fraction << shift, 1 - shift, 64 - fraction.leading_zeros() as i32)
        } else {
            (fraction | (1 << 23), raw, 24)
        };
        let (digits, first) = java_digits(fraction << 29, exponent - 127, significant);
        layout(&digits, first, out);
    }
}

/// A number as Velocity calculates with it.
#[derive(Clone, Debug)]
pub(crate) enum Number {
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Big(BigInt),
    Decimal(BigDecimal),
}

/// Why a calculation has no result.
pub(crate) enum MathError {
    /// Raised by Java: the exception's class.
    Java(&'static str),
    TooBig,
}

impl Number {
    fn is_integer(&self) -> bool {
        matches!(self, Number::Int(_) | Number::Long(_) | Number::Big(_))
    }

    pub fn to_long(&self) -> i64 {
        match self {
            Number::Int(n) => i64::from(*n),
            Number::Long(n) => *n,
            Number::Float(n) => *n as i64,
            Number::Double(n) => *n as i64,
            Number::Big(n) => low_bits(n),
            Number::Decimal(n) => n.to_int().map_or(0, |n| low_bits(&n)),
        }
    }

    /// Java's narrowing to int: the low bits of a whole number, the nearest of one with a fraction.
    pub fn to_int(&self) -> i32 {
        match self {
            Number::Int(n) => *n,
            Number::Float(n) => *n as i32,
            Number::Double(n) => *n as i32,
            other => other.to_long() as i32,
        }
    }

    pub fn to_double(&self) -> f64 {
        match self {
            Number::Int(n) => f64::from(*n),
            Number::Long(n) => *n as f64,
            Number::Float(n) => f64::from(*n),
            Number::Double(n) => *n,
            Number::Big(n) => n.to_string().parse().unwrap_or(f64::NAN),
            Number::Decimal(n) => n.to_double(),
        }
    }

    pub fn to_float(&self) -> f32 {
        match self {
            Number::Int(n) => *n as f32,
            Number::Long(n) => *n as f32,
            Number::Float(n) => *n,
            Number::Double(n) => *n as f32,
            Number::Big(n) => n.to_string().parse().unwrap_or(f32::NAN),
            Number::Decimal(n) => {
                format!("{}e{}", n.unscaled, -i64::from(n.scale)).parse().unwrap_or(f32::NAN)
            }
        }
    }

    fn to_big(&self) -> BigInt {
        match self {
            Number::Big(n) => n.clone(),
            other => BigInt::from(other.to_long()),
        }
    }

    fn to_decimal(&self) -> Result<BigDecimal, MathError> {
        match self {
            Number::Decimal(n) => Ok(n.clone()),
            Number::Big(n) => Ok(BigDecimal::from_int(n.clone())),
            other => BigDecimal::from_double(other.to_double())
                .ok_or(MathError::Java("NumberFormatException")),
        }
    }

    pub fn is_zero(&self) -> bool {
        match self {
            Number::Int(n) => *n == 0,
            Number::Long(n) => *n as f64 == 0.0,
            Number::Float(n) => *n == 0.0,
            Number::Double(n) => *n == 0.0,
            Number::Big(n) => n.sign() == Sign::NoSign,
            Number::Decimal(n) => n.unscaled.sign() == Sign::NoSign,
        }
    }
}

fn low_bits(number: &BigInt) -> i64 {
    let mut bytes = number.to_signed_bytes_le();
    let fill = if number.sign() == Sign::Minus { 0xff } else { 0 };
    bytes.resize(bytes.len().max(8), fill);
    i64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

enum Base {
    Long,
    Float,
    Double,
    Big,
    Decimal,
}

fn base(left: &Number, right: &Number) -> Base {
    let decimal = |n: &Number| matches!(n, Number::Decimal(_));
    let big = |n: &Number| matches!(n, Number::Big(_));
    let integers = left.is_integer() && right.is_integer();
    if decimal(left) || decimal(right) || (!integers && (big(left) || big(right))) {
        Base::Decimal
    } else if integers {
        if big(left) || big(right) { Base::Big } else { Base::Long }
    } else if matches!(left, Number::Double(_)) || matches!(right, Number::Double(_)) {
        Base::Double
    } else {
        Base::Float
    }
}

/// The result as the larger type of the two sides, or the next larger one that holds it.
fn wrap(value: i64, left: &Number, right: &Number) -> Number {
    if matches!(left, Number::Long(_)) || matches!(right, Number::Long(_)) {
        return Number::Long(value);
    }
    i32::try_from(value).map_or(Number::Long(value), Number::Int)
}

pub(crate) use super::ast::Operator;

/// One arithmetic operation. The caller has dealt with a right side of zero.
pub(crate) fn calculate(
    operator: Operator,
    left: &Number,
    right: &Number,
) -> Result<Number, MathError> {
    match base(left, right) {
        Base::Long => {
            let (a, b) = (left.to_long(), right.to_long());
            let result = match operator {
                Operator::Add => a.checked_add(b),
                Operator::Subtract => a.checked_sub(b),
                Operator::Multiply => {
                    // Velocity's own check for overflow misses −1 × the smallest long.
                    let product = a.wrapping_mul(b);
                    (b == 0 || product.wrapping_div(b) == a).then_some(product)
                }
                Operator::Divide => Some(a.wrapping_div(b)),
                _ => Some(a.wrapping_rem(b)),
            };
            match result {
                Some(value) => Ok(wrap(value, left, right)),
                None => whole(operator, left.to_big(), right.to_big()),
            }
        }
        Base::Big => whole(operator, left.to_big(), right.to_big()),
        Base::Double => {
            let (a, b) = (left.to_double(), right.to_double());
            Ok(Number::Double(match operator {
                Operator::Add => a + b,
                Operator::Subtract => a - b,
                Operator::Multiply => a * b,
                Operator::Divide => a / b,
                _ => a % b,
            }))
        }
        Base::Float => {
            let (a, b) = (left.to_float(), right.to_float());
            Ok(Number::Float(match operator {
                Operator::Add => a + b,
                Operator::Subtract => a - b,
                Operator::Multiply => a * b,
                Operator::Divide => a / b,
                _ => a % b,
            }))
        }
        Base::Decimal => {
            if operator == Operator::Modulo {
                return Err(MathError::Java("ArithmeticException"));
            }
            let (a, b) = (left.to_decimal()?, right.to_decimal()?);
            let result = match operator {
                Operator::Add => a.join(&b, |x, y| x + y),
                Operator::Subtract => a.join(&b, |x, y| x - y),
                Operator::Multiply => a.multiply(&b),
                _ => a.divide(&b),
            };
            result.map(Number::Decimal).ok_or(MathError::TooBig)
        }
    }
}

fn whole(operator: Operator, left: BigInt, right: BigInt) -> Result<Number, MathError> {
    if left.bits() + right.bits() > MAX_BITS {
        return Err(MathError::TooBig);
    }
    Ok(Number::Big(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        _ => {
            if right.sign() == Sign::Minus {
                return Err(MathError::Java("ArithmeticException"));
            }
            // Java's `mod` is never negative.
            let remainder = &left % &right;
            if remainder.sign() == Sign::Minus { remainder + right } else { remainder }
        }
    }))
}

/// Velocity's comparison of two numbers; NaN is neither less nor greater, so it compares as equal.
pub(crate) fn compare(left: &Number, right: &Number) -> Result<Ordering, MathError> {
    Ok(match base(left, right) {
        Base::Long => left.to_long().cmp(&right.to_long()),
        Base::Big => left.to_big().cmp(&right.to_big()),
        Base::Double => left.to_double().partial_cmp(&right.to_double()).unwrap_or(Ordering::Equal),
        Base::Float => left.to_float().partial_cmp(&right.to_float()).unwrap_or(Ordering::Equal),
        Base::Decimal => left.to_decimal()?.compare(&right.to_decimal()?),
    })
}

/// Java's `Double.toHexString` of a positive number, rounded to so many hexadecimal digits behind
/// the point if that is asked for.
pub(crate) fn hexadecimal(value: f64, digits: Option<usize>) -> String {
    let bits = value.to_bits();
    let (mut exponent, mut fraction) = ((bits >> 52 & 0x7FF) as i64, bits & ((1 << 52) - 1));
    let mut whole = u64::from(exponent != 0);
    if exponent == 0 {
        exponent = if fraction == 0 { 0 } else { -1022 };
        if let (Some(_), true) = (digits, fraction != 0) {
            // Formatting shows a number that is too small for a whole part as if it had one.
            let shift = fraction.leading_zeros() - 11;
            fraction = (fraction << shift) & ((1 << 52) - 1);
            exponent -= i64::from(shift);
            whole = 1;
        }
    } else {
        exponent -= 1023;
    }
    let mut shown = format!("{fraction:013x}");
    match digits {
        Some(digits) if digits < 13 => {
            let dropped = 4 * (13 - digits as u32);
            let mut all = whole << 52 | fraction;
            let (half, rest) = (1u64 << (dropped - 1), all & ((1 << dropped) - 1));
            all >>= dropped;
            if rest > half || (rest == half && all & 1 == 1) {
                all += 1;
            }
            let kept = 4 * digits as u32;
            whole = all >> kept;
            if whole > 1 {
                whole = 1;
                exponent += 1;
            }
            shown = format!("{:0digits$x}", all & ((1 << kept) - 1));
        }
        Some(digits) => shown.extend(std::iter::repeat_n('0', digits - 13)),
        None => {
            let kept = shown.trim_end_matches('0').len().max(1);
            shown.truncate(kept);
        }
    }
    format!("0x{whole}.{shown}p{exponent}")
}
